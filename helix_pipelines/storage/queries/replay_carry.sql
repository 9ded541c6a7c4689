-- Refused records that an earlier import of the source had as well, and that were corrected since, count as corrected: they stand for
-- the same row, which `sync` must not close. Equal records are paired in file order.
WITH theirs AS MATERIALIZED (
    SELECT r.import_job_id, r.replayed_by, r.row_key, t.raw, e.arrival,
           row_number() OVER (PARTITION BY r.import_job_id, r.sheet, t.raw ORDER BY r.ordinal) AS nth
    FROM helix.import_job e
    JOIN helix.import_row r ON r.import_job_id = e.id AND r.decision = 'quarantine'
    JOIN helix.row_content t ON t.import_job_id = r.import_job_id AND t.ordinal = r.ordinal
    WHERE e.source_id = %(source)s AND e.undone_at IS NULL
      AND e.arrival < (SELECT arrival FROM helix.import_job WHERE id = %(job)s)
      AND e.id IN (SELECT replay_of FROM helix.import_job WHERE source_id = %(source)s AND undone_at IS NULL)
), mine AS MATERIALIZED (
    SELECT r.ordinal, t.raw, row_number() OVER (PARTITION BY r.sheet, t.raw ORDER BY r.ordinal) AS nth
    FROM helix.import_row r
    JOIN helix.row_content t ON t.import_job_id = r.import_job_id AND t.ordinal = r.ordinal
    WHERE r.import_job_id = %(job)s AND r.decision = 'quarantine' AND r.replayed_by IS NULL
), known AS (
    SELECT DISTINCT ON (m.ordinal) m.ordinal, t.replayed_by, t.row_key
    FROM mine m
    JOIN theirs t ON t.raw = m.raw AND t.nth = m.nth AND t.replayed_by IS NOT NULL
    JOIN helix.occurrence o ON o.source_id = %(source)s AND o.row_key = t.row_key
    ORDER BY m.ordinal, t.arrival DESC
)
UPDATE helix.import_row r
SET replayed_by = k.replayed_by, row_key = k.row_key
FROM known k
WHERE r.import_job_id = %(job)s AND r.ordinal = k.ordinal
