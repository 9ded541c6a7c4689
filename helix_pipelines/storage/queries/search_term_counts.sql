-- In how many pairs each term of a query occurs, and how many pairs there are. Common terms are known from the planner's
-- statistics; the others are few, so counting them up to a bound is cheap.
WITH size AS (
    SELECT greatest((SELECT reltuples FROM pg_class WHERE oid = 'helix.qa_pair'::regclass),
                    (SELECT count(*) FROM (SELECT FROM helix.qa_pair LIMIT %(bound)s) row)) AS pairs
), common AS (
    SELECT element.term, element.frequency
    FROM pg_stats s,
         unnest(s.most_common_elems::text::text[], s.most_common_elem_freqs) AS element (term, frequency)
    WHERE s.schemaname = 'helix' AND s.tablename = 'qa_pair' AND s.attname = 'search'
)
SELECT size.pairs,
       coalesce(common.frequency * size.pairs, (
           SELECT count(*)
           FROM (SELECT FROM helix.qa_pair p WHERE p.search @@ term.query::tsquery LIMIT %(bound)s) hit
       )) AS holding
FROM size,
     unnest(%(terms)s::text[], %(queries)s::text[]) WITH ORDINALITY AS term (term, query, position)
LEFT JOIN common ON common.term = term.term
ORDER BY term.position
