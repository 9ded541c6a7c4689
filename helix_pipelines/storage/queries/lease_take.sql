-- Take the batch for a run: it is free, its lease has lapsed, or the run holds it already. A cancelled batch is nobody's.
UPDATE helix.import_batch
SET lease_token = %(token)s,
    lease_expires_at = clock_timestamp() + make_interval(secs => %(seconds)s),
    holder = %(holder)s,
    attempts = attempts + CASE WHEN run_id IS DISTINCT FROM %(run_id)s THEN 1 ELSE 0 END,
    run_id = %(run_id)s,
    state = 'running',
    position = NULL,
    error = NULL,
    retry_at = NULL,
    started_at = CASE WHEN run_id IS DISTINCT FROM %(run_id)s THEN clock_timestamp() ELSE started_at END,
    finished_at = NULL
WHERE partition_key = %(key)s
  AND state <> 'cancelled'
  AND (lease_token IS NULL OR lease_token = %(token)s OR lease_expires_at < clock_timestamp())
RETURNING id, config, stop_requested
