-- How many distinct texts the accepted rows of a batch have, by state.
SELECT count(*) FILTER (WHERE e.state = 'completed') AS completed,
       count(*) FILTER (WHERE e.state = 'failed') AS failed,
       count(*) FILTER (WHERE e.state = 'pending') AS pending
FROM (SELECT DISTINCT t.text_hash
      FROM helix.import_row r
      JOIN helix.passage t ON t.pair_id = r.pair_id AND t.recipe = %(recipe)s
      WHERE r.import_job_id = ANY (%(ledgers)s) AND r.decision <> 'close') texts
JOIN helix.embedding e ON e.generation_id = %(generation)s AND e.text_hash = texts.text_hash
