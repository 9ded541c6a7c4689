-- Nearest pairs of a small scope, exactly: from its pairs to their vectors.
SELECT t.pair_id
FROM (
    SELECT DISTINCT o.served_pair_id AS pair_id
    FROM helix.occurrence o
    WHERE {served}
) scope
JOIN helix.passage t ON t.pair_id = scope.pair_id AND t.recipe = %(recipe)s
JOIN helix.embedding e
  ON e.generation_id = %(generation)s AND e.text_hash = t.text_hash AND e.state = 'completed'
GROUP BY t.pair_id
ORDER BY min(e.vector <=> %(vector)s::halfvec), t.pair_id
LIMIT %(limit)s
