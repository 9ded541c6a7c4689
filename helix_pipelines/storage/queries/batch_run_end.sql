-- The end of a run, told from outside; the run's own words (done, deferred, stopped) were written by itself before. What a person
-- has asked for in the meantime comes first.
UPDATE helix.import_batch
SET state = CASE stop_requested WHEN 'cancel' THEN 'cancelled' WHEN 'pause' THEN 'paused' ELSE %(state)s END,
    stop_requested = NULL,
    error = %(error)s,
    lease_expires_at = CASE WHEN %(gone)s THEN least(lease_expires_at, clock_timestamp()) ELSE lease_expires_at END,
    finished_at = CASE WHEN coalesce(stop_requested, %(state)s) IN ('cancel', 'cancelled', 'error')
                       THEN clock_timestamp() END
WHERE partition_key = %(key)s
  AND ((state = 'running' AND run_id = %(run_id)s)
       OR (state = 'launched' AND (launched_at IS NULL OR launched_at <= %(created)s)))
