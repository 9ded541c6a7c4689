-- How far the texts of a batch are: distinct texts of the pairs that its rows stand for, in the generation in use.
WITH generation AS (
    SELECT id, recipe
    FROM helix.embedding_generation
    WHERE status IN ('active', 'building')
    ORDER BY status, id DESC
    LIMIT 1
),
texts AS (
    SELECT DISTINCT g.id AS generation_id, p.text_hash
    FROM helix.import_job j
    JOIN helix.import_row r ON r.import_job_id = j.id AND r.decision IN ('insert', 'update', 'unchanged', 'duplicate')
    CROSS JOIN generation g
    JOIN helix.passage p ON p.pair_id = r.pair_id AND p.recipe = g.recipe
    WHERE j.batch_id = %(id)s
)
SELECT count(*) AS total,
       count(*) FILTER (WHERE e.state = 'completed') AS completed,
       count(*) FILTER (WHERE e.state = 'failed') AS failed,
       count(*) FILTER (WHERE e.state <> 'pending' AND e.updated_at >= %(since)s) AS recent
FROM texts t
LEFT JOIN helix.embedding e USING (generation_id, text_hash)
