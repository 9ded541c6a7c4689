-- (2) as match_external: rows whose owner's id stands once among what is left on each side continue that row.
WITH taken AS (
    SELECT row_key FROM rehearsed_row WHERE file = %(file)s AND row_key IS NOT NULL
), mine AS MATERIALIZED (
    SELECT min(ordinal) AS ordinal, external_key
    FROM rehearsed_row
    WHERE file = %(file)s AND decision = 'pending' AND row_key IS NULL AND external_key IS NOT NULL
    GROUP BY external_key HAVING count(*) = 1
), theirs AS MATERIALIZED (
    SELECT min(o.row_key) AS row_key, o.external_key
    FROM rehearsed_occurrence o
    WHERE o.source_id = %(source)s AND NOT EXISTS (SELECT FROM taken t WHERE t.row_key = o.row_key)
    GROUP BY o.external_key HAVING count(*) = 1
)
UPDATE rehearsed_row r
SET row_key = t.row_key
FROM mine m JOIN theirs t USING (external_key)
WHERE r.file = %(file)s AND r.ordinal = m.ordinal
