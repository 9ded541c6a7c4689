-- End a run that was asked to stop: its batch is what was asked for, its phase has ended, its lease goes. A batch whose run had to
-- end for no reason of its own goes to the front of the queue, or to the end where the run took too long.
WITH phase AS (
    UPDATE helix.phase_run SET state = 'stopped', finished_at = clock_timestamp()
    WHERE batch_id = %(batch)s AND run_id = %(run_id)s AND state = 'running'
)
UPDATE helix.import_batch
SET state = %(state)s,
    position = CASE WHEN %(state)s = 'queued' THEN (
        SELECT CASE WHEN %(first)s THEN coalesce(min(position), 1) - 1 ELSE coalesce(max(position), 0) + 1 END
        FROM helix.import_batch) END,
    launched_at = CASE WHEN %(state)s = 'queued' THEN NULL ELSE launched_at END,
    finished_at = CASE WHEN %(state)s = 'cancelled' THEN clock_timestamp() END,
    stop_requested = NULL, lease_token = NULL, lease_expires_at = NULL, holder = NULL
WHERE id = %(batch)s
