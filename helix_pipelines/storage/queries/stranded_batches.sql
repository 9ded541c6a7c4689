-- Batches that nobody was heard of for a while: launched and not begun, or running under a lease that has lapsed.
SELECT partition_key, state, run_id, stop_requested, holder,
       extract(epoch FROM clock_timestamp() - coalesce(lease_expires_at, started_at, created_at))::float8 AS lapsed
FROM helix.import_batch
WHERE (state = 'launched' AND coalesce(launched_at, created_at) < clock_timestamp() - make_interval(secs => %(grace)s))
   OR (state = 'running' AND coalesce(lease_expires_at, '-infinity') < clock_timestamp())
ORDER BY id
