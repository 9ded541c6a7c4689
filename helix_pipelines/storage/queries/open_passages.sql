-- Pairs of a window of an import's rows that have no passages by this recipe yet.
SELECT DISTINCT p.id, p.question, p.answer
FROM helix.import_row r
JOIN helix.qa_pair p ON p.id = r.pair_id
WHERE r.import_job_id = %(ledger)s AND r.ordinal BETWEEN %(first)s AND %(last)s
  AND NOT EXISTS (SELECT FROM helix.passage t WHERE t.pair_id = p.id AND t.recipe = %(recipe)s)
