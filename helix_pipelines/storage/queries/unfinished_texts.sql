-- Accepted rows of a batch whose pair has no passage by the active recipe, or one that is still pending.
WITH open AS MATERIALIZED (
    SELECT t.pair_id
    FROM helix.embedding_generation g
    JOIN helix.embedding e ON e.generation_id = g.id AND e.state = 'pending'
    JOIN helix.passage t ON t.text_hash = e.text_hash AND t.recipe = g.recipe
    WHERE g.status = 'active'
), cut AS (
    SELECT DISTINCT t.pair_id
    FROM helix.embedding_generation g
    JOIN helix.passage t ON t.recipe = g.recipe
    WHERE g.status = 'active'
)
SELECT count(*)
FROM helix.import_job j
JOIN helix.import_row r ON r.import_job_id = coalesce(j.same_as, j.id)
    AND r.decision IN ('insert', 'update', 'unchanged', 'duplicate')
WHERE j.batch_id = %(batch)s AND j.state = 'parsed'
  AND (r.pair_id IN (SELECT pair_id FROM open) OR r.pair_id NOT IN (SELECT pair_id FROM cut))
