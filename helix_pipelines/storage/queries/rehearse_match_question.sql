-- (3) as match_question: rows whose question stands once among what is left on each side continue that row.
WITH taken AS (
    SELECT row_key FROM rehearsed_row WHERE file = %(file)s AND row_key IS NOT NULL
), mine AS MATERIALIZED (
    SELECT min(ordinal) AS ordinal, question_key
    FROM rehearsed_row
    WHERE file = %(file)s AND decision = 'pending' AND row_key IS NULL AND question_key IS NOT NULL
    GROUP BY question_key HAVING count(*) = 1
), theirs AS MATERIALIZED (
    SELECT min(o.row_key) AS row_key, o.question_key
    FROM rehearsed_occurrence o
    WHERE o.source_id = %(source)s AND NOT EXISTS (SELECT FROM taken t WHERE t.row_key = o.row_key)
    GROUP BY o.question_key HAVING count(*) = 1
)
UPDATE rehearsed_row r
SET row_key = t.row_key
FROM mine m JOIN theirs t USING (question_key)
WHERE r.file = %(file)s AND r.ordinal = m.ordinal
