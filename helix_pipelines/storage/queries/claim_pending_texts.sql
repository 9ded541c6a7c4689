-- Claim texts of a batch that are pending and that no living run holds.
WITH wanted AS (
    SELECT e.text_hash
    FROM helix.embedding e
    WHERE e.generation_id = %(generation)s AND e.state = 'pending'
      AND (e.next_attempt_at IS NULL OR e.next_attempt_at <= clock_timestamp())
      AND (e.claim_token IS NULL OR e.claim_token = %(token)s OR e.claim_expires_at < clock_timestamp()
           OR NOT EXISTS (SELECT FROM helix.import_batch b
                          WHERE b.lease_token = e.claim_token AND b.lease_expires_at > clock_timestamp()))
      AND e.text_hash <> ALL (%(in_hand)s::uuid[])
      AND EXISTS (SELECT FROM helix.passage t
                  JOIN helix.import_row r ON r.pair_id = t.pair_id AND r.import_job_id = ANY (%(ledgers)s)
                  WHERE t.text_hash = e.text_hash AND t.recipe = %(recipe)s)
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE helix.embedding e
    SET claim_token = %(token)s, claim_expires_at = clock_timestamp() + make_interval(secs => %(seconds)s),
        run_id = %(run_id)s
    FROM wanted w
    WHERE e.generation_id = %(generation)s AND e.text_hash = w.text_hash
    RETURNING e.text_hash, e.import_job_id, e.attempts
)
SELECT DISTINCT ON (c.text_hash) c.text_hash, t.body, c.import_job_id, c.attempts
FROM claimed c
JOIN helix.passage t ON t.text_hash = c.text_hash AND t.recipe = %(recipe)s
