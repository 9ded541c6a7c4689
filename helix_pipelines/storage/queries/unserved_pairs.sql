-- Pairs of a window of an import's rows that are decided but not served, and whose passages exist.
SELECT DISTINCT o.pair_id
FROM helix.import_row r
JOIN helix.occurrence o ON o.pair_id = r.pair_id AND o.served_pair_id IS DISTINCT FROM o.pair_id
WHERE r.import_job_id = %(ledger)s AND r.ordinal BETWEEN %(first)s AND %(last)s
