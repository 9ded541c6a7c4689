SELECT count(*), min('import ' || r.import_job_id || ' row ' || r.row_number)
FROM helix.import_row r
JOIN helix.import_job j ON j.id = r.import_job_id
WHERE r.decision = 'pending' AND (j.state LIKE 'completed%%' OR j.state = 'rejected')
