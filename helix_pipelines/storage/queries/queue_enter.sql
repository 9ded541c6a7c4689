-- A batch goes to the end of the queue because a person wants it to: at once, and with all its tries before it.
UPDATE helix.import_batch
SET state = 'queued', position = %(position)s, error = NULL, fruitless = 0, retry_at = NULL, stop_requested = NULL,
    launched_at = NULL, finished_at = NULL
WHERE id = %(batch)s
