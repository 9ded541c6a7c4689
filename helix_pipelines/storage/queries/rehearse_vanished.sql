-- As vanished: earlier rows of the source that no row of this file continues, and how many there were.
SELECT count(*) FILTER (WHERE r.row_key IS NULL) AS vanished, count(*) AS earlier
FROM rehearsed_occurrence o
LEFT JOIN rehearsed_row r ON r.file = %(file)s AND r.row_key = o.row_key
WHERE o.source_id = %(source)s
