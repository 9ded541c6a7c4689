-- Per import's ledger: how many accepted rows stand for pairs whose texts all have vectors, and how many for pairs with a text that
-- failed. One flat join, so that the planner can hash a large import and look up a small one.
SELECT rows.import_job_id AS ledger,
       count(*) FILTER (WHERE rows.complete) AS embedded,
       count(*) FILTER (WHERE rows.failed) AS failed_embeddings
FROM (
    SELECT r.import_job_id,
           bool_and(e.state IS NOT DISTINCT FROM 'completed') AS complete,
           bool_or(e.state IS NOT DISTINCT FROM 'failed') AS failed
    FROM helix.import_row r
    JOIN helix.passage p ON p.pair_id = r.pair_id AND p.recipe = %(recipe)s
    LEFT JOIN helix.embedding e ON e.generation_id = %(generation)s AND e.text_hash = p.text_hash
    WHERE r.import_job_id = ANY(%(ledgers)s)
      AND r.decision IN ('insert', 'update', 'unchanged', 'duplicate')
    GROUP BY r.import_job_id, r.ordinal
) rows
GROUP BY rows.import_job_id
