-- The ids of a collection and of a source in it; null where they would be new.
SELECT c.id AS collection_id, s.id AS source_id
FROM known_collection c
LEFT JOIN known_source s ON s.collection_id = c.id AND s.name = %(source)s
WHERE c.name = %(collection)s
