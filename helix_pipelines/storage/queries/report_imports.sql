-- The files of a batch, or one import, in the order in which they were handed over. Members stand for their archives.
SELECT j.id AS import,
       j.path,
       s.name AS source,
       CASE WHEN j.state IN ('stored', 'parsed') THEN 'pending' ELSE j.state END AS status,
       CASE WHEN j.error_code IS NOT NULL
            THEN jsonb_build_object('code', j.error_code, 'message', coalesce(j.error_message, '')) END AS error,
       j.same_as,
       j.sha256,
       j.format,
       j.encoding,
       j.rows_read,
       j.inserted,
       j.updated,
       j.unchanged,
       j.duplicate,
       j.quarantined,
       j.pending,
       c.name AS collection,
       j.state,
       j.mode,
       j.bytes,
       j.conflicts,
       j.notes,
       j.vanished,
       j.closed,
       j.replay_of,
       (SELECT count(*) FROM helix.import_row r
        WHERE r.import_job_id = coalesce(j.same_as, j.id) AND r.decision = 'quarantine' AND r.replayed_by IS NOT NULL) AS replayed,
       b.partition_key AS batch
FROM helix.import_job j
JOIN helix.import_batch b ON b.id = j.batch_id
JOIN helix.source s ON s.id = j.source_id
JOIN helix.collection c ON c.id = s.collection_id
WHERE (b.partition_key = %(batch)s AND j.state <> 'unpacked') OR j.id = %(import)s
ORDER BY j.arrival
