-- The sources of a search's scope.
SELECT s.id
FROM helix.source s
WHERE (%(collection)s::int IS NULL OR s.collection_id = %(collection)s)
  AND (%(source)s::text IS NULL OR s.name = %(source)s)
