-- All files of the batches that hold an unfinished import of one of these sources, newest batch first. `latest` says whether nothing
-- has been handed over for the source since: the order of arrival decides what counts, so an older batch is never revived over it.
SELECT b.partition_key AS batch,
       c.name AS collection,
       s.name AS source,
       j.path,
       j.sha256,
       j.mapping,
       j.sheets,
       j.mode,
       NOT EXISTS (SELECT FROM helix.import_job k WHERE k.source_id = j.source_id AND k.arrival > j.arrival) AS latest
FROM helix.import_batch b
JOIN helix.import_job j ON j.batch_id = b.id
JOIN helix.source s ON s.id = j.source_id
JOIN helix.collection c ON c.id = s.collection_id
WHERE b.state IN ('queued', 'launched', 'running', 'error', 'paused', 'deferred')
  AND j.archive_id IS NULL
  AND b.id IN (
      SELECT u.batch_id
      FROM helix.import_job u
      JOIN helix.source us ON us.id = u.source_id
      JOIN helix.collection uc ON uc.id = us.collection_id
      WHERE uc.name = ANY(%(collections)s)
        AND us.name = ANY(%(sources)s)
        AND EXISTS (SELECT FROM helix.import_job p WHERE p.batch_id = u.batch_id AND p.state IN ('pending', 'stored', 'parsed'))
  )
ORDER BY b.id DESC, j.arrival
