-- Imports (of one batch, or all) whose counters differ from their ledger lines.
SELECT count(*), min('import ' || j.id)
FROM helix.import_job j
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE decision <> 'close') AS rows,
           count(*) FILTER (WHERE decision = 'insert') AS inserted,
           count(*) FILTER (WHERE decision = 'update') AS updated,
           count(*) FILTER (WHERE decision = 'unchanged') AS unchanged,
           count(*) FILTER (WHERE decision = 'duplicate') AS duplicate,
           count(*) FILTER (WHERE decision = 'quarantine') AS quarantined
    FROM helix.import_row r WHERE r.import_job_id = j.id
) l
WHERE j.same_as IS NULL AND (%(batch)s::bigint IS NULL OR j.batch_id = %(batch)s)
  AND (j.rows_read, j.inserted, j.updated, j.unchanged, j.duplicate, j.quarantined)
      <> (l.rows, l.inserted, l.updated, l.unchanged, l.duplicate, l.quarantined)
