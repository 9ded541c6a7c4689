-- As insert_pairs: contents that the collection does not have would become pairs, with the texts of their first row.
INSERT INTO rehearsed_pair (collection_id, content_hash, file, ordinal)
SELECT %(collection)s, r.content_hash, %(file)s, min(r.ordinal)
FROM rehearsed_row r
WHERE r.file = %(file)s AND r.decision = 'pending'
  AND NOT EXISTS (SELECT FROM known_pair p WHERE p.collection_id = %(collection)s AND p.content_hash = r.content_hash)
GROUP BY r.content_hash
ON CONFLICT DO NOTHING
