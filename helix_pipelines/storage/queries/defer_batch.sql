-- Put a batch aside: its run and phase end, its lease goes, and it knows when and at which gate to go on.
WITH phase AS (
    UPDATE helix.phase_run SET state = 'deferred', finished_at = clock_timestamp()
    WHERE batch_id = %(batch)s AND run_id = %(run_id)s AND state = 'running'
)
UPDATE helix.import_batch
SET state = CASE stop_requested WHEN 'cancel' THEN 'cancelled' WHEN 'pause' THEN 'paused' ELSE %(state)s END,
    stop_requested = NULL, error = %(error)s, gate_key = %(gate)s,
    retry_at = clock_timestamp() + make_interval(secs => %(wait)s::double precision),
    lease_token = NULL, lease_expires_at = NULL
WHERE id = %(batch)s
RETURNING state
