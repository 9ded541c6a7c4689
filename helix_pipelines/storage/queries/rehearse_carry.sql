-- As replay_carry: refused records that an earlier import of the source had as well, and that were corrected since, stand for the
-- corrected rows.
WITH theirs AS MATERIALIZED (
    SELECT r.replayed_by, r.row_key, t.raw, e.arrival,
           row_number() OVER (PARTITION BY r.import_job_id, r.sheet, t.raw ORDER BY r.ordinal) AS nth
    FROM known_import e
    JOIN known_row r ON r.import_job_id = e.id AND r.decision = 'quarantine'
    JOIN known_content t ON t.import_job_id = r.import_job_id AND t.ordinal = r.ordinal
    WHERE e.source_id = %(source)s AND e.undone_at IS NULL
      AND e.id IN (SELECT replay_of FROM known_import WHERE source_id = %(source)s AND undone_at IS NULL)
), mine AS MATERIALIZED (
    SELECT r.ordinal, t.raw, row_number() OVER (PARTITION BY r.sheet, t.raw ORDER BY r.ordinal) AS nth
    FROM rehearsed_row r
    JOIN rehearsed_refusal t ON t.file = r.file AND t.ordinal = r.ordinal
    WHERE r.file = %(file)s AND r.decision = 'quarantine'
), corrected AS (
    SELECT DISTINCT ON (m.ordinal) m.ordinal, t.row_key
    FROM mine m
    JOIN theirs t ON t.raw = m.raw AND t.nth = m.nth AND t.replayed_by IS NOT NULL
    JOIN rehearsed_occurrence o ON o.source_id = %(source)s AND o.row_key = t.row_key
    ORDER BY m.ordinal, t.arrival DESC
)
UPDATE rehearsed_row r
SET row_key = c.row_key
FROM corrected c
WHERE r.file = %(file)s AND r.ordinal = c.ordinal
