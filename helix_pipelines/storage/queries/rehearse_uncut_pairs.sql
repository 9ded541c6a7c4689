-- Pairs behind the accepted rows of a file, or of the import that read the same bytes, that have no passages by the recipe yet.
WITH mine AS (
    SELECT p.id AS pair_id, r.ordinal
    FROM rehearsed_row r
    JOIN known_pair p ON p.collection_id = %(collection)s AND p.content_hash = r.content_hash
    WHERE r.file = %(file)s AND r.decision IN ('insert', 'update', 'unchanged', 'duplicate')
    UNION ALL
    SELECT pair_id, ordinal FROM known_row WHERE import_job_id = %(same_as)s AND ordinal > 0 AND pair_id IS NOT NULL
), uncut AS (
    SELECT m.pair_id, min(m.ordinal) AS ordinal
    FROM mine m
    WHERE NOT EXISTS (SELECT FROM known_passage t WHERE t.pair_id = m.pair_id AND t.recipe = %(recipe)s)
    GROUP BY m.pair_id
)
SELECT p.question, p.answer, (u.ordinal - 1) / %(portion_rows)s AS portion
FROM uncut u
JOIN known_pair p ON p.id = u.pair_id
