-- The latest import of a source that still stands, if it read the same bytes in the same way (as intake_record has it). None where
-- the command reads another file of the source before: that one will not be finished when this one is taken in.
SELECT coalesce(e.same_as, e.id) AS id, e.rows_read, e.quarantined, e.notes
FROM (
    SELECT * FROM known_import
    WHERE source_id = %(source)s AND undone_at IS NULL AND state NOT IN ('rejected', 'unpacked') AND replay_of IS NULL
    ORDER BY arrival DESC
    LIMIT 1
) e
WHERE (e.state LIKE 'completed%%' OR e.same_as IS NOT NULL)
  AND NOT EXISTS (SELECT FROM rehearsed_source r WHERE r.source_id = %(source)s)
  AND e.sha256 = %(sha256)s AND e.mapping = %(mapping)s AND e.sheets = %(sheets)s AND e.mode = %(mode)s
  AND e.encoding IS NOT DISTINCT FROM %(encoding)s AND e.pipeline_version = %(version)s
