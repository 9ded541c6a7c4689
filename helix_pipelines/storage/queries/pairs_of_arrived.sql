-- Pairs that have one of the arrived vectors' texts, looked up text by text (OFFSET 0 keeps the planner from doing otherwise).
SELECT DISTINCT t.pair_id
FROM arrived_vector v
CROSS JOIN LATERAL (
    SELECT p.pair_id FROM helix.passage p WHERE p.text_hash = v.text_hash AND p.recipe = %(recipe)s OFFSET 0
) t
