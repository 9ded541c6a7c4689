-- Deferred batches that are due go to the end of the queue. Of a gate that is not closed only the first goes, and only if no other
-- batch of it is under way; of one that is shut none goes before an operator has acted. A queued batch that waits for its next try
-- is not under way: the others would wait for as long as it does.
WITH due AS (
    SELECT b.id, b.priority,
           g.breaker IS NOT DISTINCT FROM 'closed' OR g.breaker IS NULL AS free,
           row_number() OVER (PARTITION BY b.gate_key ORDER BY b.priority DESC, b.id) AS place,
           EXISTS (SELECT FROM helix.import_batch o
                   WHERE o.gate_key = b.gate_key
                     AND (o.state = 'queued' AND coalesce(o.retry_at, '-infinity') <= clock_timestamp()
                          OR o.state = 'launched'
                          OR o.state = 'running' AND o.lease_expires_at > clock_timestamp())) AS under_way
    FROM helix.import_batch b
    LEFT JOIN helix.gate g ON g.key_hash = b.gate_key
    WHERE b.state = 'deferred' AND b.retry_at <= clock_timestamp() AND g.shut_code IS NULL
), chosen AS (
    SELECT id, row_number() OVER (ORDER BY priority DESC, id) AS place
    FROM due
    WHERE free OR (place = 1 AND NOT under_way)
)
UPDATE helix.import_batch b
SET state = 'queued', launched_at = NULL, retry_at = NULL,
    position = c.place + (SELECT coalesce(max(position), 0) FROM helix.import_batch)
FROM chosen c
WHERE b.id = c.id AND b.state = 'deferred'  -- a run may have taken it since it was looked at
RETURNING b.partition_key
