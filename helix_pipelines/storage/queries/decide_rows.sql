-- Each row of a range that is still pending gets its pair and its decision. A row that continues an earlier one is an update; the
-- first row of a content that no live row of the collection has is an insert; all others are duplicates. Nobody else writes these rows,
-- so each is found again by its place (ctid).
WITH mine AS MATERIALIZED (
    SELECT r.ctid AS place, r.ordinal, r.row_key, p.id AS pair_id,
           row_number() OVER (PARTITION BY r.content_hash ORDER BY (r.row_key IS NULL), r.ordinal) = 1 AS is_first,
           p.first_import_id = %(job)s
               OR NOT (EXISTS (SELECT FROM helix.occurrence o WHERE o.served_pair_id = p.id)
                       OR EXISTS (SELECT FROM helix.occurrence o
                                  WHERE o.pair_id = p.id AND o.served_pair_id IS DISTINCT FROM o.pair_id)) AS is_new
    FROM helix.import_row r
    JOIN helix.qa_pair p ON p.collection_id = %(collection)s AND p.content_hash = r.content_hash
    WHERE r.import_job_id = %(job)s AND r.decision = 'pending'
      AND r.question_key >= %(low)s AND (%(high)s::uuid IS NULL OR r.question_key < %(high)s)
)
UPDATE helix.import_row r
SET pair_id = m.pair_id,
    row_key = coalesce(m.row_key, (%(job)s::bigint << 32) + m.ordinal),
    decision = CASE WHEN m.row_key IS NOT NULL THEN 'update' WHEN m.is_first AND m.is_new THEN 'insert' ELSE 'duplicate' END
FROM mine m
WHERE r.import_job_id = %(job)s AND r.ctid = m.place
