-- Per import of a batch: how many accepted rows stand for pairs whose texts all have vectors, and how many for pairs
-- with a text that failed. An import of the same bytes as an earlier one has no ledger of its own: the earlier one's counts.
WITH RECURSIVE followed AS (
    SELECT j.id AS import, j.id AS ledger, j.same_as
    FROM helix.import_job j
    WHERE j.id = ANY(%(imports)s)
    UNION ALL
    SELECT f.import, j.id, j.same_as
    FROM followed f
    JOIN helix.import_job j ON j.id = f.same_as
),
accepted AS (
    SELECT f.import, r.pair_id, count(*) AS rows
    FROM followed f
    JOIN helix.import_row r ON r.import_job_id = f.ledger
    WHERE f.same_as IS NULL
      AND r.decision IN ('insert', 'update', 'unchanged', 'duplicate')
    GROUP BY f.import, r.pair_id
),
generation AS (
    SELECT id, recipe
    FROM helix.embedding_generation
    WHERE status IN ('active', 'building')
    ORDER BY status, id DESC
    LIMIT 1
),
pairs AS (
    SELECT p.pair_id,
           bool_and(e.state IS NOT DISTINCT FROM 'completed') AS complete,
           bool_or(e.state IS NOT DISTINCT FROM 'failed') AS failed
    FROM (SELECT DISTINCT pair_id FROM accepted) a
    CROSS JOIN generation g
    JOIN helix.passage p ON p.pair_id = a.pair_id AND p.recipe = g.recipe
    LEFT JOIN helix.embedding e ON e.generation_id = g.id AND e.text_hash = p.text_hash
    GROUP BY p.pair_id
)
SELECT a.import,
       coalesce(sum(a.rows) FILTER (WHERE p.complete), 0)::bigint AS embedded,
       coalesce(sum(a.rows) FILTER (WHERE p.failed), 0)::bigint AS failed_embeddings
FROM accepted a
JOIN pairs p USING (pair_id)
GROUP BY a.import
