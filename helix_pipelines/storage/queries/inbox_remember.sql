-- Files that are new, or have another size or time than before: their wait for rest begins now.
INSERT INTO helix.inbox_file AS known (path, bytes, modified_ns, seen_at)
SELECT path, bytes, modified_ns, clock_timestamp()
FROM unnest(%(paths)s::text[], %(bytes)s::bigint[], %(modified)s::bigint[]) AS seen(path, bytes, modified_ns)
ON CONFLICT (path) DO UPDATE
SET bytes = excluded.bytes, modified_ns = excluded.modified_ns, seen_at = excluded.seen_at, import_job_id = NULL
