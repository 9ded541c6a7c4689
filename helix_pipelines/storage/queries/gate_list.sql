-- Gates for people: limits in force and by origin, and how the breaker stands.
SELECT g.id AS key,
       g.service,
       CASE WHEN g.shut_code IS NOT NULL THEN 'shut' ELSE g.breaker END AS state,
       g.shut_code AS code,
       g.message,
       g.failures,
       g.failure_threshold,
       g.breaker_generation AS generation,
       g.opened_at,
       CASE WHEN g.breaker <> 'closed' THEN g.retry_at END AS retry_at,
       CASE WHEN g.blocked_until > clock_timestamp() THEN g.blocked_until END AS blocked_until,
       g.shut_at,
       (SELECT count(*) FROM helix.gate_lease l WHERE l.key_hash = g.key_hash AND l.expires_at > clock_timestamp()) AS in_flight,
       g.period_seconds,
       jsonb_build_object('requests_per_minute', f.requests * 60 / g.period_seconds,
                          'tokens_per_minute', f.tokens * 60 / g.period_seconds,
                          'max_concurrency', f.concurrency, 'tokens_per_day', g.tokens_per_day) AS limits,
       jsonb_build_object('requests_per_minute', g.requests_per_minute, 'tokens_per_minute', g.tokens_per_minute,
                          'max_concurrency', g.max_concurrency, 'tokens_per_day', g.tokens_per_day) AS settings,
       jsonb_build_object('requests_per_minute', g.chosen_requests_per_minute,
                          'tokens_per_minute', g.chosen_tokens_per_minute,
                          'max_concurrency', g.chosen_max_concurrency) AS chosen,
       jsonb_build_object('requests_per_minute', g.told_requests * 60 / g.period_seconds,
                          'tokens_per_minute', g.told_tokens * 60 / g.period_seconds, 'max_concurrency', NULL) AS told,
       CASE WHEN g.day = (clock_timestamp() AT TIME ZONE 'UTC')::date THEN g.day_tokens ELSE 0 END AS tokens_today
FROM helix.gate g
CROSS JOIN LATERAL helix.gate_limits(g) f
WHERE %(key)s::text IS NULL OR g.id = %(key)s
ORDER BY g.service, g.key_hash
