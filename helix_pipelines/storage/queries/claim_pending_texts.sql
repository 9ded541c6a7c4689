-- Claim texts of a batch that are pending and that no living run holds: those that its imports were the first to need, and once there
-- is none of them left, those of others that it needs too. The CASE hides the state from the planner: until there are statistics it
-- believes that some few texts are pending, and would go through all of them for each one (30 s for 4,000 of 12,000).
WITH free AS NOT MATERIALIZED (
    SELECT e.text_hash, e.import_job_id
    FROM helix.embedding e
    WHERE e.generation_id = %(generation)s AND e.state = 'pending'
      AND (e.next_attempt_at IS NULL OR e.next_attempt_at <= clock_timestamp())
      AND (e.claim_token IS NULL OR e.claim_token = %(token)s OR e.claim_expires_at < clock_timestamp()
           OR e.claim_token <> ALL (ARRAY(SELECT lease_token FROM helix.import_batch
                                          WHERE lease_token IS NOT NULL AND lease_expires_at > clock_timestamp())))
      AND e.text_hash <> ALL (%(in_hand)s::uuid[])
), needed AS MATERIALIZED (
    SELECT DISTINCT t.text_hash
    FROM helix.import_row r
    JOIN helix.passage t ON t.pair_id = r.pair_id AND t.recipe = %(recipe)s
    WHERE r.import_job_id = ANY (%(ledgers)s)
), own AS MATERIALIZED (
    SELECT text_hash FROM free WHERE import_job_id = ANY (%(ledgers)s) LIMIT %(limit)s
), shared AS MATERIALIZED (
    SELECT text_hash FROM free
    WHERE NOT EXISTS (SELECT FROM own) AND text_hash IN (SELECT text_hash FROM needed)
    LIMIT %(limit)s
), wanted AS (
    SELECT e.text_hash
    FROM helix.embedding e
    JOIN (SELECT text_hash FROM own UNION ALL SELECT text_hash FROM shared) w USING (text_hash)
    WHERE e.generation_id = %(generation)s AND CASE e.state WHEN 'pending' THEN true ELSE false END
    FOR UPDATE OF e SKIP LOCKED
), claimed AS (
    UPDATE helix.embedding e
    SET claim_token = %(token)s, claim_expires_at = clock_timestamp() + make_interval(secs => %(seconds)s),
        run_id = %(run_id)s
    FROM wanted w
    WHERE e.generation_id = %(generation)s AND e.text_hash = w.text_hash
    RETURNING e.text_hash, e.import_job_id, e.attempts
)
SELECT c.text_hash, t.body, c.import_job_id, c.attempts
FROM claimed c
CROSS JOIN LATERAL (
    SELECT body FROM helix.passage p WHERE p.text_hash = c.text_hash AND p.recipe = %(recipe)s LIMIT 1
) t
