-- Passages of new pairs by a recipe, as parallel arrays. Texts that no generation's vector exists for become pending and are claimed
-- in the same breath; the others, usually few, are returned.
WITH unit AS MATERIALIZED (
    SELECT * FROM unnest(%(pairs)b::bigint[], %(ordinals)b::smallint[], %(hashes)b::uuid[], %(bodies)b::text[])
        AS u (pair_id, ordinal, text_hash, body)
), cut AS (
    INSERT INTO helix.passage (pair_id, recipe, ordinal, text_hash, body)
    SELECT pair_id, %(recipe)s, ordinal, text_hash, body FROM unit ORDER BY pair_id, ordinal
    ON CONFLICT DO NOTHING
), claimed AS (
    INSERT INTO helix.embedding (generation_id, text_hash, state, claim_token, claim_expires_at, import_job_id, run_id)
    SELECT %(generation)s, text_hash, 'pending', %(token)s, clock_timestamp() + make_interval(secs => %(seconds)s),
           %(job)s, %(run_id)s
    FROM (SELECT DISTINCT text_hash FROM unit) texts
    ORDER BY text_hash
    ON CONFLICT DO NOTHING
    RETURNING text_hash
)
SELECT text_hash FROM unit EXCEPT SELECT text_hash FROM claimed
