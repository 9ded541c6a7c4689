-- As decide_rows: a row that continues an earlier one is an update; the first row of a content that no live row of the collection has
-- is an insert; all others are duplicates. Sources that no file of the command touches are looked up where they are.
WITH mine AS MATERIALIZED (
    SELECT ordinal, row_key, content_hash, question_key,
           row_number() OVER (PARTITION BY content_hash ORDER BY (row_key IS NULL), ordinal) = 1 AS is_first
    FROM rehearsed_row
    WHERE file = %(file)s AND decision = 'pending'
), live AS MATERIALIZED (
    SELECT m.content_hash
    FROM mine m
    JOIN rehearsed_occurrence o ON o.collection_id = %(collection)s AND o.question_key = m.question_key
        AND o.content_hash = m.content_hash
    UNION
    SELECT m.content_hash
    FROM mine m
    JOIN rehearsed_occurrence o ON o.collection_id = %(collection)s AND o.served_hash = m.content_hash
        AND o.served_hash <> o.content_hash
    UNION
    SELECT m.content_hash
    FROM mine m
    JOIN known_pair p ON p.collection_id = %(collection)s AND p.content_hash = m.content_hash
    WHERE EXISTS (SELECT FROM known_occurrence o
                  WHERE o.served_pair_id = p.id AND o.source_id NOT IN (SELECT source_id FROM rehearsed_source))
       OR EXISTS (SELECT FROM known_occurrence o
                  WHERE o.pair_id = p.id AND o.served_pair_id IS DISTINCT FROM o.pair_id
                    AND o.source_id NOT IN (SELECT source_id FROM rehearsed_source))
)
UPDATE rehearsed_row r
SET row_key = coalesce(m.row_key, %(first_key)s::bigint + m.ordinal),
    decision = CASE WHEN m.row_key IS NOT NULL THEN 'update' WHEN m.is_first AND l.content_hash IS NULL THEN 'insert' ELSE 'duplicate' END
FROM mine m LEFT JOIN live l USING (content_hash)
WHERE r.file = %(file)s AND r.ordinal = m.ordinal
