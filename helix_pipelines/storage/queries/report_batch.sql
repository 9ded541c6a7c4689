-- One batch by its key, and what it has paid for.
SELECT b.id,
       b.partition_key AS batch,
       b.name,
       b.state,
       b.run_id,
       b.attempts,
       b.error,
       b.created_at,
       b.started_at,
       b.finished_at,
       CASE WHEN b.state IN ('deferred', 'queued') THEN b.retry_at END AS retry_at,
       b.stop_requested,
       b.lease_expires_at > clock_timestamp() AS leased,
       coalesce(u.requests, 0) AS requests,
       coalesce(u.texts, 0) AS texts,
       coalesce(u.tokens, 0) AS tokens,
       coalesce(u.cost, 0)::float8 AS cost
FROM helix.import_batch b
CROSS JOIN LATERAL (
    SELECT sum(a.requests)::bigint AS requests, sum(a.texts)::bigint AS texts, sum(a.tokens)::bigint AS tokens,
           sum(a.cost) AS cost
    FROM helix.api_usage a
    JOIN helix.import_job j ON j.id = a.import_job_id
    WHERE j.batch_id = b.id
) u
WHERE b.partition_key = %(batch)s
