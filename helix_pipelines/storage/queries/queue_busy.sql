-- How many batches are under way, and the sources that they import into. A run that was not heard of for ten minutes (steps
-- wait up to four between two tries) holds nothing back any more.
WITH under_way AS (
    SELECT id FROM helix.import_batch
    WHERE state = 'launched'
       OR (state = 'running' AND lease_expires_at > clock_timestamp() - interval '10 minutes')
)
SELECT (SELECT count(*) FROM under_way),
       coalesce((SELECT array_agg(DISTINCT source_id) FROM helix.import_job WHERE batch_id IN (SELECT id FROM under_way)), '{}')
