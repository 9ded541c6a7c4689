-- A file is stored and recognised. If the latest import of its source that still stands read the same bytes in the same way,
-- no row is read again: its accepted rows are this file's unchanged ones. Replays between change rows, and not the file.
-- One that is not finished counts as well, as it has changed rows or is going to: it keeps a file that goes back to what was before
-- from being taken for that. It is itself no measure before it is completed, unless it is the same as a completed one.
WITH latest AS (
    SELECT e.*
    FROM helix.import_job e
    JOIN helix.import_job j ON j.id = %(id)s AND e.source_id = j.source_id AND e.arrival < j.arrival
    WHERE e.undone_at IS NULL AND e.state NOT IN ('rejected', 'unpacked')
      AND (e.replay_of IS NULL OR j.replay_of IS NOT NULL)
    ORDER BY e.arrival DESC
    LIMIT 1
), same AS (
    SELECT coalesce(e.same_as, e.id) AS id, e.rows_read, e.quarantined, e.columns, e.notes, e.reader_version
    FROM latest e
    JOIN helix.import_job j ON j.id = %(id)s
    WHERE (e.state LIKE 'completed%%' OR e.same_as IS NOT NULL)
      AND e.sha256 = %(sha256)s AND e.mapping = j.mapping AND e.sheets = j.sheets AND e.mode = j.mode
      AND e.replay_of IS NOT DISTINCT FROM j.replay_of
      AND e.encoding IS NOT DISTINCT FROM %(encoding)s AND e.pipeline_version = j.pipeline_version
)
UPDATE helix.import_job j
SET sha256 = %(sha256)s, bytes = %(bytes)s, format = %(format)s, encoding = %(encoding)s, dialect = %(dialect)s,
    state = CASE WHEN s.id IS NULL THEN 'stored' ELSE 'parsed' END,
    same_as = s.id,
    rows_read = coalesce(s.rows_read, 0),
    unchanged = coalesce(s.rows_read - s.quarantined, 0),
    quarantined = coalesce(s.quarantined, 0),
    columns = s.columns,
    notes = coalesce(s.notes, j.notes),
    reader_version = s.reader_version
FROM (SELECT) AS one LEFT JOIN same s ON true
WHERE j.id = %(id)s
