-- Every attempt at a phase of the batch that did not come to its end, oldest first; one that is still `running` lost its process.
SELECT phase,
       attempt,
       run_id AS run,
       started_at::text AS started,
       CASE WHEN state = 'running' THEN 'lost' ELSE state END AS state,
       error_code AS code,
       recoverable,
       advice,
       place,
       error AS traceback
FROM helix.phase_run
WHERE batch_id = %(batch)s AND state IN ('failed', 'skipped', 'running')
ORDER BY id DESC
LIMIT %(limit)s
