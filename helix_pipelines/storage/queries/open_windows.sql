-- Windows of an import's rows in which there is something to do: a pair without passages by the recipe, or one not served yet.
SELECT DISTINCT (r.ordinal - 1) / %(rows)s AS number
FROM helix.import_row r
WHERE r.import_job_id = %(ledger)s AND r.ordinal > 0 AND r.pair_id IS NOT NULL
  AND (NOT EXISTS (SELECT FROM helix.passage t WHERE t.pair_id = r.pair_id AND t.recipe = %(recipe)s)
       OR EXISTS (SELECT FROM helix.occurrence o
                  WHERE o.pair_id = r.pair_id AND o.served_pair_id IS DISTINCT FROM o.pair_id))
ORDER BY number
