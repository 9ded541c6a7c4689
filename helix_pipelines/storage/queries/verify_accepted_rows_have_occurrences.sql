SELECT count(*), min('import ' || d.import_job_id || ' row ' || d.row_number)
FROM (
    SELECT DISTINCT ON (j.source_id, r.row_key) j.source_id, r.row_key, r.decision, r.import_job_id, r.row_number
    FROM helix.import_row r
    JOIN helix.import_job j ON j.id = r.import_job_id
    WHERE r.row_key IS NOT NULL AND r.decision <> 'quarantine' AND j.undone_at IS NULL AND j.state LIKE 'completed%%'
    ORDER BY j.source_id, r.row_key, j.arrival DESC
) d
LEFT JOIN helix.occurrence o ON o.source_id = d.source_id AND o.row_key = d.row_key
WHERE d.decision <> 'close' AND o.row_key IS NULL
