-- The queue from a place on, as it is without the batch that is to be put there: the neighbours of the place.
SELECT priority, position
FROM helix.import_batch
WHERE state = 'queued' AND id <> %(batch)s
ORDER BY priority DESC, position
OFFSET %(skipped)s LIMIT %(rows)s
