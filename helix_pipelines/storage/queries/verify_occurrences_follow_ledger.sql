SELECT count(*), min('source ' || o.source_id || ' row key ' || o.row_key)
FROM helix.occurrence o
LEFT JOIN helix.import_row r
    ON r.import_job_id = o.import_job_id AND r.ordinal = o.ordinal AND r.row_key = o.row_key AND r.pair_id = o.pair_id
    AND r.decision IN ('insert', 'update', 'unchanged', 'duplicate')
LEFT JOIN helix.import_job j ON j.id = o.import_job_id AND j.source_id = o.source_id AND j.undone_at IS NULL
WHERE r.import_job_id IS NULL OR j.id IS NULL
