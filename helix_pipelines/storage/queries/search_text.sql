-- Pairs of the scope that hold any of the given (rare) terms, those with the greatest weight first.
SELECT best.id
FROM (
    SELECT p.id, sum(term.weight) AS weight
    FROM unnest(%(queries)s::text[], %(weights)s::float8[]) AS term (query, weight)
    JOIN helix.qa_pair p ON p.search @@ term.query::tsquery
    WHERE (%(collection)s::int IS NULL OR p.collection_id = %(collection)s)
      AND (%(language)s::text IS NULL OR p.language = %(language)s)
    GROUP BY p.id
    ORDER BY weight DESC, p.id
) best
CROSS JOIN LATERAL (
    SELECT
    FROM helix.occurrence o
    WHERE o.served_pair_id = best.id
      AND {served}
    LIMIT 1
) served
ORDER BY best.weight DESC, best.id
LIMIT %(limit)s
