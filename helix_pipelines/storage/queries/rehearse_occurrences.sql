-- As open_occurrences: every accepted row would open or confirm its occurrence. What is served only changes after all files.
INSERT INTO rehearsed_occurrence AS o (source_id, row_key, collection_id, content_hash, question_key, external_key, file)
SELECT %(source)s, row_key, %(collection)s, content_hash, question_key, external_key, %(file)s
FROM rehearsed_row
WHERE file = %(file)s AND decision IN ('insert', 'update', 'unchanged', 'duplicate')
ON CONFLICT (source_id, row_key) DO UPDATE
SET content_hash = EXCLUDED.content_hash, question_key = EXCLUDED.question_key, external_key = EXCLUDED.external_key,
    file = EXCLUDED.file
