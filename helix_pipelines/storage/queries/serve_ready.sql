-- Of these pairs, and of those with these texts, the ones all of whose texts have vectors are served from now on; `served` follows
-- `decided`. Passages and states are looked up row by row: without statistics of a growing table the planner would scan it again and
-- again.
WITH touched AS MATERIALIZED (
    SELECT unnest(%(pairs)b::bigint[]) AS pair_id
    UNION
    SELECT t.pair_id
    FROM unnest(%(hashes)s::uuid[]) AS arrived (text_hash)
    CROSS JOIN LATERAL (
        SELECT p.pair_id FROM helix.passage p WHERE p.text_hash = arrived.text_hash AND p.recipe = %(recipe)s OFFSET 0
    ) t
), ready AS MATERIALIZED (
    SELECT pair_id
    FROM touched
    WHERE (SELECT bool_and(coalesce((SELECT e.state = 'completed' FROM helix.embedding e
                                     WHERE e.generation_id = %(generation)s AND e.text_hash = t.text_hash), false))
           FROM helix.passage t
           WHERE t.pair_id = touched.pair_id AND t.recipe = %(recipe)s)
)
UPDATE helix.occurrence o
SET served_pair_id = o.pair_id, stale = false
FROM ready
WHERE o.pair_id = ready.pair_id AND o.served_pair_id IS DISTINCT FROM o.pair_id
