-- What a progress display needs, cheap enough to be asked again and again while the batch runs. Pending texts are counted on
-- the index of pending ones, and only while texts are being embedded.
SELECT clock_timestamp() AS at,
       b.state,
       b.run_id,
       b.state = 'running' AND b.lease_expires_at > clock_timestamp() AS leased,
       p.phase,
       extract(epoch FROM clock_timestamp() - p.started_at)::float8 AS elapsed,
       rows.read AS rows_read,
       rows.pending AS rows_pending,
       CASE WHEN p.phase = 'embeddings' THEN (
           SELECT count(*)
           FROM helix.embedding e
           JOIN helix.embedding_generation g ON g.id = e.generation_id AND g.status IN ('active', 'building')
           WHERE e.state = 'pending'
       ) END AS texts_pending
FROM helix.import_batch b
LEFT JOIN LATERAL (
    SELECT phase, started_at FROM helix.phase_run WHERE batch_id = b.id AND state = 'running' ORDER BY id DESC LIMIT 1
) p ON true
CROSS JOIN LATERAL (
    SELECT coalesce(sum(rows_read), 0)::bigint AS read, coalesce(sum(pending), 0)::bigint AS pending
    FROM helix.import_job WHERE batch_id = b.id
) rows
WHERE b.partition_key = %(batch)s
