-- Sealed segments of a generation whose index is missing or was left invalid by an interrupted build.
SELECT segment.number, index.relname IS NOT NULL AS is_leftover
FROM generate_series(0, %(open_segment)s - 1) AS segment (number)
LEFT JOIN (
    SELECT c.relname, i.indisvalid
    FROM pg_index i
    JOIN pg_class c ON c.oid = i.indexrelid
    WHERE c.relnamespace = 'helix'::regnamespace
) AS index ON index.relname = %(prefix)s || segment.number
WHERE index.indisvalid IS NOT TRUE
ORDER BY segment.number
