-- A text that the service refuses is failed by name; answers that it should have replaced stay served and are marked stale.
WITH failed AS (
    UPDATE helix.embedding
    SET state = 'failed', attempts = attempts + 1, error_code = %(code)s, error_text = %(message)s,
        claim_token = NULL, claim_expires_at = NULL, run_id = %(run_id)s, updated_at = clock_timestamp()
    WHERE generation_id = %(generation)s AND text_hash = %(text_hash)s AND state = 'pending'
    RETURNING text_hash
)
UPDATE helix.occurrence o
SET stale = true
FROM failed f
JOIN helix.passage t ON t.text_hash = f.text_hash AND t.recipe = %(recipe)s
WHERE o.pair_id = t.pair_id AND o.served_pair_id IS DISTINCT FROM o.pair_id AND o.served_pair_id IS NOT NULL
