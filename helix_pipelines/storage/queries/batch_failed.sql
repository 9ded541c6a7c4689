-- The batch that a failed run speaks for (as in batch_run_end), locked, with how far it has come: rows read and decided, texts paid
-- for, and files taken in. None of these ever goes back, except where another version of a reader begins a file again.
SELECT b.id,
       b.stop_requested,
       b.progress AS progress_before,
       b.fruitless,
       (SELECT coalesce(sum(j.rows_read + j.inserted + j.updated + j.unchanged + j.duplicate + j.quarantined
                            + CASE WHEN j.state = 'pending' THEN 0 ELSE 1 END), 0)
        FROM helix.import_job j WHERE j.batch_id = b.id)
       + (SELECT coalesce(sum(u.texts), 0)
          FROM helix.api_usage u JOIN helix.import_job j ON j.id = u.import_job_id WHERE j.batch_id = b.id) AS progress
FROM helix.import_batch b
WHERE b.partition_key = %(key)s
  AND ((b.state = 'running' AND b.run_id = %(run_id)s)
       OR (b.state = 'launched' AND (b.launched_at IS NULL OR b.launched_at <= %(created)s)))
FOR UPDATE OF b
