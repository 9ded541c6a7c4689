-- What each collection holds: sources, rows that count now, and the distinct pairs that can be searched.
SELECT c.name AS collection,
       (SELECT count(*) FROM helix.source s WHERE s.collection_id = c.id) AS sources,
       coalesce(o.rows, 0) AS rows,
       coalesce(p.searchable, 0) AS searchable,
       coalesce(o.stale, 0) AS stale
FROM helix.collection c
LEFT JOIN (
    SELECT collection_id, count(*) AS rows, count(*) FILTER (WHERE stale) AS stale
    FROM helix.occurrence
    GROUP BY collection_id
) o ON o.collection_id = c.id
LEFT JOIN (
    SELECT collection_id, count(*) AS searchable
    FROM (SELECT DISTINCT collection_id, served_pair_id FROM helix.occurrence WHERE served_pair_id IS NOT NULL) served
    GROUP BY collection_id
) p ON p.collection_id = c.id
ORDER BY c.name
