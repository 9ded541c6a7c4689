-- The limits that would hold for a gate: those of the settings, an operator's and the service's own, per minute.
SELECT f.requests * 60 / g.period_seconds AS requests, f.tokens * 60 / g.period_seconds AS tokens, f.concurrency
FROM jsonb_populate_record((SELECT k FROM helix.gate k WHERE k.key_hash = %(key)s), %(settings)s) g
CROSS JOIN LATERAL helix.gate_limits(g) f
