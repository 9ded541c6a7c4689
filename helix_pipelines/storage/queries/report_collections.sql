-- What each collection holds: sources, rows that count now, and the distinct pairs that can be searched. One pass over the rows.
SELECT c.name AS collection,
       (SELECT count(*) FROM helix.source s WHERE s.collection_id = c.id) AS sources,
       coalesce(o.rows, 0)::bigint AS rows,
       coalesce(o.searchable, 0) AS searchable,
       coalesce(o.stale, 0)::bigint AS stale
FROM helix.collection c
LEFT JOIN (
    SELECT collection_id, sum(rows) AS rows, count(served_pair_id) AS searchable, sum(stale) AS stale
    FROM (
        SELECT collection_id, served_pair_id, count(*) AS rows, count(*) FILTER (WHERE stale) AS stale
        FROM helix.occurrence
        GROUP BY collection_id, served_pair_id
    ) pairs
    GROUP BY collection_id
) o ON o.collection_id = c.id
ORDER BY c.name
