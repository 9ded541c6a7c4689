-- Corrected rows are told by their place: one that stands for a row of the source already, by a text that could not be embedded
-- or by an earlier correction, continues that row. Equal content leaves it as it is.
WITH mine AS MATERIALIZED (
    SELECT r.ordinal, r.content_hash, q.row_key, o.pair_id, o.content_hash AS stands
    FROM helix.import_row r
    JOIN helix.import_row q ON q.import_job_id = %(replay_of)s AND q.ordinal > 0 AND q.row_key IS NOT NULL
         AND q.row_number = r.row_number AND q.sheet IS NOT DISTINCT FROM r.sheet
    LEFT JOIN helix.occurrence o ON o.source_id = %(source)s AND o.row_key = q.row_key
    WHERE r.import_job_id = %(job)s AND r.decision = 'pending'
      AND r.question_key >= %(low)s AND (%(high)s::uuid IS NULL OR r.question_key < %(high)s)
), matched AS (
    UPDATE helix.import_row r
    SET row_key = m.row_key,
        decision = CASE WHEN m.content_hash = m.stands THEN 'unchanged' ELSE 'pending' END,
        pair_id = CASE WHEN m.content_hash = m.stands THEN m.pair_id END
    FROM mine m
    WHERE r.import_job_id = %(job)s AND r.ordinal = m.ordinal
    RETURNING r.decision
)
UPDATE helix.import_job
SET unchanged = unchanged + (SELECT count(*) FROM matched WHERE decision = 'unchanged')
WHERE id = %(job)s
