-- The generation in use and how its texts stand.
SELECT g.id AS generation, g.model, g.dimensions, g.recipe, g.status, t.completed, t.pending, t.failed
FROM (
    SELECT *
    FROM helix.embedding_generation
    WHERE status IN ('active', 'building')
    ORDER BY status, id DESC
    LIMIT 1
) g
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE e.state = 'completed') AS completed,
           count(*) FILTER (WHERE e.state = 'pending') AS pending,
           count(*) FILTER (WHERE e.state = 'failed') AS failed
    FROM helix.embedding e
    WHERE e.generation_id = g.id
) t
