-- Nearest pairs in a sealed segment, in the order of its index, which goes on until enough of them are in the scope.
SELECT t.pair_id
FROM helix.embedding e
JOIN helix.passage t ON t.text_hash = e.text_hash AND t.recipe = %(recipe)s
CROSS JOIN LATERAL (
    SELECT
    FROM helix.occurrence o
    WHERE o.served_pair_id = t.pair_id
      AND {served}
    LIMIT 1
) served
WHERE e.generation_id = {generation} AND e.segment = {segment}
ORDER BY e.vector::halfvec({dimensions}) <=> %(vector)s::halfvec({dimensions})
LIMIT %(limit)s
