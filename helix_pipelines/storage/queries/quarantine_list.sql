-- What could not be used, with its file and row: records refused while reading, and rows whose text has no vector for good.
-- The latest imports first, their rows in order.
SELECT q.stage, q.import, j.path, s.name AS source, c.name AS collection, q.sheet, q.row, q.code, q.message, q.question, q.raw
FROM (
    SELECT 'parsing' AS stage, r.import_job_id AS import, r.sheet, r.row_number AS row, r.ordinal, r.code, r.reason AS message,
           t.question, t.raw
    FROM helix.import_row r
    LEFT JOIN helix.row_content t ON t.import_job_id = r.import_job_id AND t.ordinal = r.ordinal
    WHERE r.decision = 'quarantine'
    UNION ALL
    SELECT DISTINCT ON (r.import_job_id, r.ordinal)
           'embedding', r.import_job_id, r.sheet, r.row_number, r.ordinal, e.error_code, e.error_text, p.question, NULL
    FROM helix.embedding_generation g
    JOIN helix.embedding e ON e.generation_id = g.id AND e.state = 'failed'
    JOIN helix.passage t ON t.text_hash = e.text_hash AND t.recipe = g.recipe
    JOIN helix.qa_pair p ON p.id = t.pair_id
    JOIN helix.import_row r ON r.pair_id = t.pair_id AND r.decision IN ('insert', 'update', 'unchanged', 'duplicate')
    WHERE g.status = 'active'
) q
JOIN helix.import_job j ON j.id = q.import
JOIN helix.import_batch b ON b.id = j.batch_id
JOIN helix.source s ON s.id = j.source_id
JOIN helix.collection c ON c.id = s.collection_id
WHERE j.undone_at IS NULL
  AND (%(stage)s::text IS NULL OR q.stage = %(stage)s)
  AND (%(import)s::bigint IS NULL OR q.import = %(import)s)
  AND (%(batch)s::text IS NULL OR b.partition_key = %(batch)s)
  AND (%(code)s::text IS NULL OR q.code = %(code)s)
ORDER BY q.import DESC, q.stage DESC, q.ordinal
LIMIT %(limit)s
