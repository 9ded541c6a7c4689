-- The next segment becomes the open one where the active generation's open one holds more vectors than allowed.
UPDATE helix.embedding_generation g
SET open_segment = g.open_segment + 1
WHERE g.status = 'active'
  AND %(vectors)s < (
      SELECT count(*)
      FROM (
          SELECT
          FROM helix.embedding e
          WHERE e.generation_id = g.id AND e.segment = g.open_segment
          LIMIT %(vectors)s + 1
      ) vector
  )
RETURNING g.open_segment - 1
