-- How far the texts of a batch are: distinct texts of the pairs that its rows stand for. `recent` ones came since a moment.
SELECT count(*) AS total,
       count(*) FILTER (WHERE e.state = 'completed') AS completed,
       count(*) FILTER (WHERE e.state = 'failed') AS failed,
       count(*) FILTER (WHERE e.state <> 'pending' AND e.updated_at >= %(since)s) AS recent
FROM (
    SELECT DISTINCT p.text_hash
    FROM helix.import_row r
    JOIN helix.passage p ON p.pair_id = r.pair_id AND p.recipe = %(recipe)s
    WHERE r.import_job_id = ANY(%(ledgers)s)
      AND r.decision IN ('insert', 'update', 'unchanged', 'duplicate')
) texts
LEFT JOIN helix.embedding e ON e.generation_id = %(generation)s AND e.text_hash = texts.text_hash
