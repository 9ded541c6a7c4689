-- Pairs all of whose texts have vectors are served from now on; `served` follows `decided`.
WITH ready AS (
    SELECT t.pair_id
    FROM helix.passage t
    LEFT JOIN helix.embedding e
        ON e.generation_id = %(generation)s AND e.text_hash = t.text_hash AND e.state = 'completed'
    WHERE t.pair_id = ANY (%(pairs)s) AND t.recipe = %(recipe)s
    GROUP BY t.pair_id
    HAVING count(*) = count(e.text_hash)
)
UPDATE helix.occurrence o
SET served_pair_id = o.pair_id, stale = false
FROM ready
WHERE o.pair_id = ready.pair_id AND o.served_pair_id IS DISTINCT FROM o.pair_id
