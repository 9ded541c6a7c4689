-- Add what some answers cost to what their import has paid for.
INSERT INTO helix.api_usage AS u (import_job_id, service, model, requests, texts, tokens, cost)
VALUES (%(job)s, %(service)s, %(model)s, %(requests)s, %(texts)s, %(tokens)s, %(cost)s)
ON CONFLICT (import_job_id, service, model) DO UPDATE
SET requests = u.requests + EXCLUDED.requests,
    texts = u.texts + EXCLUDED.texts,
    tokens = u.tokens + EXCLUDED.tokens,
    cost = u.cost + EXCLUDED.cost
