-- Pairs all of whose texts have vectors are served from now on; `served` follows `decided`.
-- The state is looked up text by text: without statistics of a growing table the planner would join it by nested scans.
WITH ready AS (
    SELECT t.pair_id
    FROM helix.passage t
    WHERE t.pair_id = ANY (%(pairs)s) AND t.recipe = %(recipe)s
    GROUP BY t.pair_id
    HAVING bool_and(coalesce((SELECT e.state = 'completed' FROM helix.embedding e
                              WHERE e.generation_id = %(generation)s AND e.text_hash = t.text_hash), false))
)
UPDATE helix.occurrence o
SET served_pair_id = o.pair_id, stale = false
FROM ready
WHERE o.pair_id = ready.pair_id AND o.served_pair_id IS DISTINCT FROM o.pair_id
