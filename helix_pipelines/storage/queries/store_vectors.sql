-- Vectors that arrived, as parallel arrays, become those of their texts. The CASE hides the state from the planner: its statistics may
-- be of a time when no text was unfinished, and it would then go through all unfinished ones for each vector (20 s more for 100k texts).
-- The generation is hidden too (OFFSET 0): of a partition without statistics the planner believes that it has some few texts, and would
-- go through all vectors for each of them.
UPDATE helix.embedding e
SET state = 'completed', vector = v.vector, tokens = v.tokens, attempts = e.attempts + 1,
    segment = (SELECT open_segment FROM helix.embedding_generation WHERE id = %(generation)s),
    claim_token = NULL, claim_expires_at = NULL, next_attempt_at = NULL, error_code = NULL, error_text = NULL,
    run_id = %(run_id)s, updated_at = clock_timestamp()
FROM (
    SELECT %(generation)s::integer AS generation_id, arrived.*
    FROM unnest(%(hashes)s::uuid[], %(vectors)s::halfvec[], %(tokens)b::integer[]) AS arrived (text_hash, vector, tokens)
    OFFSET 0
) v
WHERE e.generation_id = v.generation_id AND e.text_hash = v.text_hash AND CASE e.state WHEN 'completed' THEN false ELSE true END
