-- The batch that a run is working on, as far as the batch knows.
SELECT partition_key, holder, extract(epoch FROM clock_timestamp() - lease_expires_at)::float8 AS lapsed
FROM helix.import_batch
WHERE run_id = %s AND state = 'running'
