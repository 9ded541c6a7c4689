-- Decided imports of a batch are complete; each says so once in the outbox.
WITH completed AS (
    UPDATE helix.import_job
    SET state = CASE WHEN quarantined > 0 THEN 'completed_with_quarantine' ELSE 'completed' END, finished_at = clock_timestamp()
    WHERE batch_id = %(batch)s AND state = 'parsed'
    RETURNING id, rows_read, quarantined
), documents AS (
    INSERT INTO helix.event (kind, batch_id, import_job_id, payload)
    SELECT 'document.processed', %(batch)s, id, jsonb_build_object('rows_read', rows_read, 'quarantined', quarantined)
    FROM completed
)
INSERT INTO helix.event (kind, batch_id, payload)
SELECT 'batch.done', %(batch)s, jsonb_build_object('imports', (SELECT count(*) FROM completed))
