-- (1) as match_content: rows with the same content as an earlier row of their source are that row; twins are paired in file order.
WITH mine AS MATERIALIZED (
    SELECT ordinal, content_hash, row_number() OVER (PARTITION BY content_hash ORDER BY ordinal) AS nth
    FROM rehearsed_row
    WHERE file = %(file)s AND decision = 'pending'
), theirs AS MATERIALIZED (
    SELECT row_key, content_hash, row_number() OVER (PARTITION BY content_hash ORDER BY row_key) AS nth
    FROM rehearsed_occurrence
    WHERE source_id = %(source)s
)
UPDATE rehearsed_row r
SET decision = 'unchanged', row_key = t.row_key
FROM mine m JOIN theirs t USING (content_hash, nth)
WHERE r.file = %(file)s AND r.ordinal = m.ordinal
