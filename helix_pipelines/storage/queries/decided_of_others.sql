-- How many rows the other imports of a source have been decided on: what an import is matched with changes when this does.
SELECT coalesce(sum(inserted + updated + unchanged + duplicate + closed), 0)::bigint
FROM helix.import_job
WHERE source_id = %(source)s AND id <> %(job)s AND same_as IS NULL AND undone_at IS NULL
