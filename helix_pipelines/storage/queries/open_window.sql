-- What is to be done for the pairs of a window of an import's rows: those without passages by the recipe come with their texts, those
-- that are decided but not served without. Looked up pair by pair (OFFSET 0): the tables are read as a whole otherwise, for each window.
SELECT r.pair_id, p.question, p.answer
FROM (
    SELECT DISTINCT pair_id
    FROM helix.import_row
    WHERE import_job_id = %(ledger)s AND ordinal BETWEEN %(first)s AND %(last)s AND pair_id IS NOT NULL
) r
LEFT JOIN LATERAL (
    SELECT true AS known FROM helix.passage t WHERE t.pair_id = r.pair_id AND t.recipe = %(recipe)s LIMIT 1
) t ON true
LEFT JOIN LATERAL (
    SELECT question, answer FROM helix.qa_pair WHERE id = r.pair_id AND t.known IS NULL OFFSET 0
) p ON true
WHERE t.known IS NULL OR (SELECT true FROM helix.occurrence o
                          WHERE o.pair_id = r.pair_id AND o.served_pair_id IS DISTINCT FROM o.pair_id LIMIT 1)
