-- New contents of a range become pairs, in hash order so that concurrent batches cannot deadlock.
INSERT INTO helix.qa_pair (collection_id, content_hash, question_key, question, answer, language, search,
                           derived_version, first_import_id)
SELECT %(collection)s, content_hash, question_key, question, answer, language,
       array_to_tsvector(string_to_array(terms, ' ')), %(derived_version)s, %(job)s
FROM (
    SELECT DISTINCT ON (r.content_hash) r.content_hash, r.question_key, c.question, c.answer, c.language, nullif(c.terms, '') AS terms
    FROM helix.import_row r
    JOIN helix.row_content c USING (import_job_id, ordinal)
    WHERE r.import_job_id = %(job)s AND r.decision = 'pending'
      AND r.question_key >= %(low)s AND (%(high)s::uuid IS NULL OR r.question_key < %(high)s)
    ORDER BY r.content_hash, r.ordinal
) fresh
ORDER BY content_hash
ON CONFLICT (collection_id, content_hash) DO NOTHING
