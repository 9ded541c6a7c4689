-- (3) Rows whose question stands once among what is left on each side continue that row with another answer.
WITH taken AS (
    SELECT row_key FROM helix.import_row WHERE import_job_id IN (%(job)s, %(replay_of)s) AND row_key IS NOT NULL
), mine AS MATERIALIZED (
    SELECT min(ordinal) AS ordinal, question_key
    FROM helix.import_row
    WHERE import_job_id = %(job)s AND decision = 'pending' AND row_key IS NULL
      AND question_key >= %(low)s AND (%(high)s::uuid IS NULL OR question_key < %(high)s)
    GROUP BY question_key HAVING count(*) = 1
), theirs AS MATERIALIZED (
    SELECT min(o.row_key) AS row_key, o.question_key
    FROM helix.occurrence o
    WHERE o.source_id = %(source)s
      AND o.question_key >= %(low)s AND (%(high)s::uuid IS NULL OR o.question_key < %(high)s)
      AND NOT EXISTS (SELECT FROM taken t WHERE t.row_key = o.row_key)
    GROUP BY o.question_key HAVING count(*) = 1
)
UPDATE helix.import_row r
SET row_key = t.row_key
FROM mine m JOIN theirs t USING (question_key)
WHERE r.import_job_id = %(job)s AND r.ordinal = m.ordinal
