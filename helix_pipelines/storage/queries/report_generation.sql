-- The generation in use and how its texts stand.
SELECT g.id AS generation,
       g.model,
       g.dimensions,
       g.recipe,
       g.status,
       (SELECT count(*) FROM helix.embedding e WHERE e.generation_id = g.id AND e.state = 'completed') AS completed,
       (SELECT count(*) FROM helix.embedding e WHERE e.generation_id = g.id AND e.state = 'pending') AS pending,
       (SELECT count(*) FROM helix.embedding e WHERE e.generation_id = g.id AND e.state = 'failed') AS failed
FROM helix.embedding_generation g
WHERE g.status IN ('active', 'building')
ORDER BY g.status, g.id DESC
LIMIT 1
