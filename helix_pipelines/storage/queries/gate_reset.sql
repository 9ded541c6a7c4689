-- An operator's word: requests go through again, and batches that wait for it need not wait any longer.
WITH opened AS (
    UPDATE helix.gate
    SET breaker = 'closed', breaker_generation = breaker_generation + 1, failures = 0, failed_at = NULL, probe_wait = 0,
        opened_at = NULL, retry_at = NULL, blocked_until = NULL, shut_code = NULL, shut_scope = NULL, shut_at = NULL, message = NULL
    WHERE id = %(key)s
    RETURNING key_hash
)
UPDATE helix.import_batch b
SET retry_at = clock_timestamp()
FROM opened
WHERE b.gate_key = opened.key_hash AND b.state = 'deferred'
