-- The head of the queue with the sources of each batch; 200 are enough to find work for the slots there are. Batches that are to be
-- tried again later leave their turn to others.
SELECT b.partition_key, b.name, b.priority, array_agg(DISTINCT j.source_id)
FROM (
    SELECT id, partition_key, name, priority, position FROM helix.import_batch
    WHERE state = 'queued' AND (retry_at IS NULL OR retry_at <= clock_timestamp())
    ORDER BY priority DESC, position LIMIT 200
) b
JOIN helix.import_job j ON j.batch_id = b.id
GROUP BY b.id, b.partition_key, b.name, b.priority, b.position
ORDER BY b.priority DESC, b.position
