-- Earlier rows of the source that no row of this import continues, and how many there were.
SELECT count(*) FILTER (WHERE r.row_key IS NULL) AS vanished, count(*) AS earlier
FROM helix.occurrence o
JOIN helix.import_job e ON e.id = o.import_job_id
JOIN helix.import_job j ON j.id = %(job)s AND e.arrival < j.arrival
LEFT JOIN helix.import_row r ON r.import_job_id = %(job)s AND r.row_key = o.row_key
WHERE o.source_id = %(source)s
