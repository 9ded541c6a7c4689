SELECT count(*), min('pair ' || o.served_pair_id)
FROM (SELECT DISTINCT served_pair_id FROM helix.occurrence WHERE served_pair_id IS NOT NULL) o
JOIN helix.embedding_generation g ON g.status = 'active'
WHERE NOT EXISTS (SELECT FROM helix.passage t WHERE t.pair_id = o.served_pair_id AND t.recipe = g.recipe)
   OR EXISTS (
       SELECT FROM helix.passage t
       LEFT JOIN helix.embedding e ON e.generation_id = g.id AND e.text_hash = t.text_hash AND e.state = 'completed'
       WHERE t.pair_id = o.served_pair_id AND t.recipe = g.recipe AND e.text_hash IS NULL
   )
