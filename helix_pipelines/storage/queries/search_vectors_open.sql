-- Nearest pairs in the open segment: its nearest vectors by an exact scan, then those of them that the scope serves.
SELECT t.pair_id
FROM (
    SELECT e.text_hash, e.vector <=> %(vector)s::halfvec AS distance
    FROM helix.embedding e
    WHERE e.generation_id = %(generation)s AND e.segment = %(segment)s AND e.state = 'completed'
    ORDER BY distance
    LIMIT %(scan)s
) near
JOIN helix.passage t ON t.text_hash = near.text_hash AND t.recipe = %(recipe)s
CROSS JOIN LATERAL (
    SELECT
    FROM helix.occurrence o
    WHERE o.served_pair_id = t.pair_id
      AND {served}
    LIMIT 1
) served
ORDER BY near.distance, t.pair_id
LIMIT %(limit)s
