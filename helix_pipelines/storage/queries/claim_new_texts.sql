-- Texts that no generation's vector exists for become pending and are claimed in the same breath.
INSERT INTO helix.embedding (generation_id, text_hash, state, claim_token, claim_expires_at, import_job_id, run_id)
SELECT %(generation)s, text_hash, 'pending', %(token)s, clock_timestamp() + make_interval(secs => %(seconds)s),
       %(job)s, %(run_id)s
FROM (SELECT DISTINCT unnest(%(hashes)s::uuid[]) AS text_hash) texts
ORDER BY text_hash
ON CONFLICT DO NOTHING
RETURNING text_hash
