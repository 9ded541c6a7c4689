-- Files whose counters differ from their ledger lines, or that have undecided rows: none, if the ledger adds up. A file with the
-- same bytes as an earlier import has no lines of its own; lines below zero record what `sync` closed, they are no rows.
SELECT j.id, j.path, j.rows_read, l.lines,
       j.inserted + j.updated + j.unchanged + j.duplicate + j.quarantined AS decided, l.pending
FROM helix.import_job j
JOIN helix.import_batch b ON b.id = j.batch_id
CROSS JOIN LATERAL (
    SELECT count(*) AS lines,
           count(*) FILTER (WHERE decision = 'insert') AS inserted,
           count(*) FILTER (WHERE decision = 'update') AS updated,
           count(*) FILTER (WHERE decision = 'unchanged') AS unchanged,
           count(*) FILTER (WHERE decision = 'duplicate') AS duplicate,
           count(*) FILTER (WHERE decision = 'quarantine') AS quarantined,
           count(*) FILTER (WHERE decision = 'pending') AS pending
    FROM helix.import_row r
    WHERE r.import_job_id = j.id AND r.ordinal >= 0
) l
WHERE b.partition_key = %(key)s
  AND j.same_as IS NULL
  AND (l.pending > 0
       OR (j.rows_read, j.inserted, j.updated, j.unchanged, j.duplicate, j.quarantined)
          <> (l.lines, l.inserted, l.updated, l.unchanged, l.duplicate, l.quarantined))
ORDER BY j.id
