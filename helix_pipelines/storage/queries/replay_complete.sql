-- Completed replays of a batch: the rows that they brought in are corrected, and known by the row of the source that they became.
UPDATE helix.import_row q
SET replayed_by = j.id, row_key = coalesce(q.row_key, c.row_key)
FROM helix.import_job j
JOIN helix.import_row c ON c.import_job_id = j.id AND c.decision IN ('insert', 'update', 'unchanged', 'duplicate')
WHERE j.batch_id = %(batch)s AND j.replay_of IS NOT NULL AND j.state LIKE 'completed%%'
  AND q.import_job_id = j.replay_of AND q.ordinal > 0
  AND q.row_number = c.row_number AND q.sheet IS NOT DISTINCT FROM c.sheet
