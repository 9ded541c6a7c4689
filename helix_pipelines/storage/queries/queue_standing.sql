-- A batch, and its place in the queue: how many queued batches are not behind it.
SELECT b.state, b.priority, b.stop_requested,
       CASE WHEN b.state = 'queued' THEN (
           SELECT count(*)
           FROM helix.import_batch q
           WHERE q.state = 'queued' AND (q.priority > b.priority OR (q.priority = b.priority AND q.position <= b.position))
       ) END
FROM helix.import_batch b
WHERE b.partition_key = %(key)s
