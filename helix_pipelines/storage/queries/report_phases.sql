-- Seconds that a batch has spent in each phase, over all attempts, in the order of first start. An attempt whose process died has
-- no end: it is counted until the next attempt, or until its lease lapsed.
SELECT a.phase,
       sum(extract(epoch FROM a.until - a.started_at))::float8 AS seconds,
       bool_or(a.running) AS running,
       max(a.started_at) AS started_at,
       extract(epoch FROM clock_timestamp() - max(a.started_at))::float8 AS elapsed
FROM (
    SELECT p.phase,
           p.started_at,
           coalesce(p.finished_at,
                    least(clock_timestamp(), lead(p.started_at) OVER (ORDER BY p.id),
                          greatest(b.lease_expires_at, p.started_at))) AS until,
           p.state = 'running' AND b.state = 'running' AND b.lease_expires_at > clock_timestamp() AS running
    FROM helix.phase_run p
    JOIN helix.import_batch b ON b.id = p.batch_id
    WHERE p.batch_id = %(id)s
) a
GROUP BY a.phase
ORDER BY min(a.started_at)
