SELECT count(*), min('pair ' || o.pair_id)
FROM helix.occurrence o
JOIN helix.import_job j ON j.id = o.import_job_id AND j.state LIKE 'completed%%'
JOIN helix.embedding_generation g ON g.status = 'active'
WHERE o.served_pair_id IS DISTINCT FROM o.pair_id
  AND NOT EXISTS (
      SELECT FROM helix.passage t
      JOIN helix.embedding e ON e.generation_id = g.id AND e.text_hash = t.text_hash AND e.state <> 'completed'
      WHERE t.pair_id = o.pair_id AND t.recipe = g.recipe
  )
