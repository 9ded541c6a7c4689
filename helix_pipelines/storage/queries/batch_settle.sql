-- What becomes of a batch whose run failed: it waits in the queue for another try, or it is at its end.
UPDATE helix.import_batch
SET state = %(state)s,
    error = %(error)s,
    progress = %(progress)s,
    fruitless = %(fruitless)s,
    position = CASE WHEN %(state)s = 'queued'
                    THEN (SELECT coalesce(max(position), 0) + 1 FROM helix.import_batch) END,
    launched_at = CASE WHEN %(state)s = 'queued' THEN NULL ELSE launched_at END,
    retry_at = CASE WHEN %(state)s = 'queued' THEN clock_timestamp() + make_interval(secs => %(wait)s) END,
    finished_at = CASE WHEN %(state)s = 'error' THEN clock_timestamp() END,
    lease_expires_at = CASE WHEN %(gone)s THEN least(lease_expires_at, clock_timestamp()) ELSE lease_expires_at END
WHERE id = %(batch)s
