-- Texts behind the same rows whose vectors an earlier import left for later.
WITH open AS MATERIALIZED (
    SELECT t.text_hash, t.body, t.pair_id
    FROM known_embedding e
    JOIN known_passage t ON t.text_hash = e.text_hash AND t.recipe = %(recipe)s
    WHERE e.generation_id = %(generation)s AND e.state = 'pending'
)
SELECT o.text_hash, o.body
FROM open o
JOIN known_pair p ON p.id = o.pair_id AND p.collection_id = %(collection)s
JOIN rehearsed_row r ON r.file = %(file)s AND r.content_hash = p.content_hash
    AND r.decision IN ('insert', 'update', 'unchanged', 'duplicate')
UNION
SELECT o.text_hash, o.body
FROM open o
JOIN known_row r ON r.import_job_id = %(same_as)s AND r.pair_id = o.pair_id
