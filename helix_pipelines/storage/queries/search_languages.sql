-- The languages of a collection's pairs, of all collections for NULL. Reads every pair, so it is asked only where a search of one
-- language has found nothing.
SELECT DISTINCT p.language
FROM helix.qa_pair p
JOIN helix.collection c ON c.id = p.collection_id
WHERE p.language IS NOT NULL
  AND (%(collection)s::text IS NULL OR c.name = %(collection)s)
ORDER BY p.language
