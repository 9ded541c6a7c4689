-- How many distinct texts the accepted rows of a batch have, and how many of them failed or are pending.
WITH texts AS (
    SELECT DISTINCT t.text_hash
    FROM helix.import_row r
    JOIN helix.passage t ON t.pair_id = r.pair_id AND t.recipe = %(recipe)s
    WHERE r.import_job_id = ANY (%(ledgers)s) AND r.decision <> 'close'
), open AS MATERIALIZED (
    SELECT text_hash, state FROM helix.embedding WHERE generation_id = %(generation)s AND state <> 'completed'
)
SELECT (SELECT count(*) FROM texts) AS texts,
       (SELECT count(*) FROM texts JOIN open USING (text_hash) WHERE open.state = 'failed') AS failed,
       (SELECT count(*) FROM texts JOIN open USING (text_hash) WHERE open.state = 'pending') AS pending
