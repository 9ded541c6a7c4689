-- The head of the queue with its places, and of each other state of work that is not finished the latest batches. The states are
-- written out, so that the planner knows how few batches they have among all that are done.
WITH listed AS (
    (
        SELECT id, row_number() OVER (ORDER BY priority DESC, position) AS place
        FROM helix.import_batch
        WHERE state = 'queued'
        ORDER BY priority DESC, position
        LIMIT %(limit)s
    )
    UNION ALL
    SELECT id, NULL
    FROM (
        SELECT id, row_number() OVER (PARTITION BY state ORDER BY id DESC) AS nth
        FROM helix.import_batch
        WHERE state IN ('running', 'launched', 'paused', 'deferred', 'error')
    ) latest
    WHERE nth <= %(limit)s
)
SELECT b.partition_key AS batch, b.name, b.state, l.place AS position, b.priority, f.files,
       extract(epoch FROM clock_timestamp() - b.created_at)::float8 AS age,
       CASE WHEN b.retry_at > clock_timestamp() THEN b.retry_at END AS not_before,
       b.stop_requested, b.run_id, b.error
FROM listed l
JOIN helix.import_batch b USING (id)
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE j.state <> 'unpacked') AS files FROM helix.import_job j WHERE j.batch_id = b.id
) f
ORDER BY array_position(%(states)s::text[], b.state), l.place, b.id DESC
