-- A batch that nobody works on is paused or cancelled. It keeps all that was done.
UPDATE helix.import_batch
SET state = %(state)s, position = NULL, retry_at = NULL, stop_requested = NULL,
    finished_at = CASE WHEN %(state)s = 'cancelled' THEN clock_timestamp() END
WHERE id = %(batch)s
