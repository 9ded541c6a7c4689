-- Of each candidate: its nearest passage's similarity (null without a vector), the weight of the query's terms that it
-- holds, of those that look like codes, and how many terms it has itself.
SELECT p.id,
       (
           SELECT 1 - min(e.vector <=> %(vector)s::halfvec)
           FROM helix.passage t
           JOIN helix.embedding e
             ON e.generation_id = %(generation)s AND e.text_hash = t.text_hash AND e.state = 'completed'
           WHERE t.pair_id = p.id AND t.recipe = %(recipe)s
       ) AS similarity,
       held.weight,
       held.code_weight,
       coalesce(length(p.search), 0) AS terms
FROM helix.qa_pair p
CROSS JOIN LATERAL (
    SELECT coalesce(sum(term.weight), 0) AS weight,
           coalesce(sum(term.weight) FILTER (WHERE term.code), 0) AS code_weight
    FROM unnest(%(queries)s::text[], %(weights)s::float8[], %(codes)s::bool[]) AS term (query, weight, code)
    WHERE p.search @@ term.query::tsquery
) held
WHERE p.id = ANY(%(pairs)s::bigint[])
