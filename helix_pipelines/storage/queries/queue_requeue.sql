-- A batch whose launch came to nothing goes to the front of the queue, or where a person wanted it before its run could begin.
UPDATE helix.import_batch
SET state = CASE stop_requested WHEN 'pause' THEN 'paused' WHEN 'cancel' THEN 'cancelled' ELSE 'queued' END,
    position = CASE WHEN stop_requested IS NULL THEN %(position)s::numeric END,
    finished_at = CASE WHEN stop_requested = 'cancel' THEN clock_timestamp() END,
    launched_at = NULL,
    stop_requested = NULL
WHERE partition_key = %(key)s AND state = 'launched'
RETURNING state
