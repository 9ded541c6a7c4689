-- Every accepted row of a range opens or confirms its occurrence; a later arrival's word stands, whatever finishes first.
INSERT INTO helix.occurrence AS o (source_id, row_key, collection_id, pair_id, import_job_id, ordinal, row_number, sheet,
                                   content_hash, question_key, external_key, category, url)
SELECT %(source)s, r.row_key, %(collection)s, r.pair_id, r.import_job_id, r.ordinal, r.row_number, r.sheet,
       r.content_hash, r.question_key, r.external_key, c.category, c.url
FROM helix.import_row r
JOIN helix.row_content c USING (import_job_id, ordinal)
WHERE r.import_job_id = %(job)s AND r.decision IN ('insert', 'update', 'unchanged', 'duplicate')
  AND r.question_key >= %(low)s AND (%(high)s::uuid IS NULL OR r.question_key < %(high)s)
ORDER BY r.row_key
ON CONFLICT (source_id, row_key) DO UPDATE
SET pair_id = EXCLUDED.pair_id, import_job_id = EXCLUDED.import_job_id, ordinal = EXCLUDED.ordinal,
    row_number = EXCLUDED.row_number, sheet = EXCLUDED.sheet, content_hash = EXCLUDED.content_hash,
    question_key = EXCLUDED.question_key, external_key = EXCLUDED.external_key, category = EXCLUDED.category,
    url = EXCLUDED.url, stale = o.stale AND o.pair_id = EXCLUDED.pair_id
WHERE o.import_job_id <> ALL (ARRAY(SELECT later.id
                                    FROM helix.import_job later
                                    JOIN helix.import_job mine ON mine.id = %(job)s AND later.arrival > mine.arrival
                                    WHERE later.source_id = %(source)s))
