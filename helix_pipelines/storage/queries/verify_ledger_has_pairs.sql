SELECT count(*), min('import ' || r.import_job_id || ' row ' || r.row_number)
FROM helix.import_row r
JOIN helix.import_job j ON j.id = r.import_job_id
JOIN helix.source s ON s.id = j.source_id
LEFT JOIN helix.qa_pair p ON p.id = r.pair_id AND p.collection_id = s.collection_id AND p.content_hash = r.content_hash
WHERE r.decision IN ('insert', 'update', 'unchanged', 'duplicate', 'close') AND p.id IS NULL
