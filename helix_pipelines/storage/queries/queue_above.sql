-- The next position of any other batch, whatever its priority; one further where there is none.
SELECT coalesce(min(position), %(position)s + 1)
FROM helix.import_batch
WHERE position > %(position)s AND id <> %(batch)s
