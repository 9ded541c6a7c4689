-- What the settings of a process say of a gate; written only where it is new.
INSERT INTO helix.gate AS g (key_hash, service, requests_per_minute, tokens_per_minute, max_concurrency, period_seconds,
                             tokens_per_day, failure_threshold, probe_cap_seconds)
VALUES (%(key)s, %(service)s, %(requests)s, %(tokens)s, %(concurrency)s, %(period)s, %(day)s, %(threshold)s, %(probe_cap)s)
ON CONFLICT (key_hash) DO UPDATE
SET service = EXCLUDED.service,
    requests_per_minute = EXCLUDED.requests_per_minute,
    tokens_per_minute = EXCLUDED.tokens_per_minute,
    max_concurrency = EXCLUDED.max_concurrency,
    period_seconds = EXCLUDED.period_seconds,
    tokens_per_day = EXCLUDED.tokens_per_day,
    failure_threshold = EXCLUDED.failure_threshold,
    probe_cap_seconds = EXCLUDED.probe_cap_seconds,
    -- Limits that the service told for one period say nothing of another.
    told_requests = CASE WHEN g.period_seconds = EXCLUDED.period_seconds THEN g.told_requests END,
    told_tokens = CASE WHEN g.period_seconds = EXCLUDED.period_seconds THEN g.told_tokens END
WHERE (g.service, g.requests_per_minute, g.tokens_per_minute, g.max_concurrency, g.period_seconds, g.tokens_per_day,
       g.failure_threshold, g.probe_cap_seconds)
      IS DISTINCT FROM
      (EXCLUDED.service, EXCLUDED.requests_per_minute, EXCLUDED.tokens_per_minute, EXCLUDED.max_concurrency,
       EXCLUDED.period_seconds, EXCLUDED.tokens_per_day, EXCLUDED.failure_threshold, EXCLUDED.probe_cap_seconds)
