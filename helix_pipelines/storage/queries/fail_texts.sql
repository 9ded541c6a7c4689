-- Texts that were not embedded: failed by name at their last attempt, left for later until then (NULL: always). Answers that a
-- failed one should have replaced stay served and are marked stale.
WITH tried AS (
    UPDATE helix.embedding
    SET state = CASE WHEN attempts + %(counts)s >= %(last_attempt)s::integer THEN 'failed' ELSE 'pending' END,
        attempts = attempts + %(counts)s,
        next_attempt_at = clock_timestamp() + least(power(2, attempts), 60) * interval '1 second',
        error_code = %(code)s, error_text = %(message)s,
        claim_token = NULL, claim_expires_at = NULL, run_id = %(run_id)s, updated_at = clock_timestamp()
    WHERE generation_id = %(generation)s AND text_hash = ANY (%(hashes)s) AND state = 'pending'
    RETURNING text_hash, state
)
UPDATE helix.occurrence o
SET stale = true
FROM tried f
JOIN helix.passage t ON t.text_hash = f.text_hash AND t.recipe = %(recipe)s
WHERE f.state = 'failed'
  AND o.pair_id = t.pair_id AND o.served_pair_id IS DISTINCT FROM o.pair_id AND o.served_pair_id IS NOT NULL
