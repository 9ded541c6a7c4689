-- Accepted pairs of a batch that have no passage by the active recipe, and texts of it that are still pending.
SELECT count(*)
FROM (
    SELECT r.pair_id
    FROM helix.import_job j
    JOIN helix.import_row r ON r.import_job_id = coalesce(j.same_as, j.id)
        AND r.decision IN ('insert', 'update', 'unchanged', 'duplicate')
    LEFT JOIN helix.embedding_generation g ON g.status = 'active'
    LEFT JOIN helix.passage t ON t.pair_id = r.pair_id AND t.recipe = g.recipe
    LEFT JOIN helix.embedding e ON e.generation_id = g.id AND e.text_hash = t.text_hash AND e.state <> 'pending'
    WHERE j.batch_id = %(batch)s AND j.state = 'parsed' AND e.text_hash IS NULL
) missing
