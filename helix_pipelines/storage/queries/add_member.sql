-- A file of an archive becomes an import of the same batch. Its source is the archive's with its path added, in the same collection,
-- so that a new version of the archive continues the sources of the last one.
WITH archive AS (
    SELECT j.*, s.collection_id, s.name || '/' || %(path)s AS member_source, j.path || '/' || %(path)s AS member_path
    FROM helix.import_job j
    JOIN helix.source s ON s.id = j.source_id
    WHERE j.id = %(archive)s
), named AS (
    INSERT INTO helix.source (collection_id, name)
    SELECT collection_id, member_source FROM archive
    ON CONFLICT (collection_id, name) DO UPDATE SET name = EXCLUDED.name
    RETURNING id
)
INSERT INTO helix.import_job (batch_id, source_id, path, sha256, bytes, mapping, sheets, encoding, mode, pipeline_version, archive_id,
                              state, error_code, error_message, finished_at)
SELECT a.batch_id, n.id, a.member_path, %(sha256)s, %(bytes)s, a.mapping, a.sheets, a.encoding, a.mode, a.pipeline_version, a.id,
       CASE WHEN %(code)s::text IS NULL THEN 'pending' ELSE 'rejected' END, %(code)s, %(message)s,
       CASE WHEN %(code)s::text IS NULL THEN NULL ELSE now() END
FROM archive a, named n
