-- Of these pairs, those with a text that has failed will not be served: the answers that they should have replaced stay, and are marked
-- stale. A text that fails marks them itself (fail_texts); this is for texts that had failed before. States are looked up row by row,
-- as in serve_ready.
UPDATE helix.occurrence o
SET stale = true
WHERE o.pair_id = ANY (%(pairs)b::bigint[]) AND NOT o.stale
  AND o.served_pair_id IS DISTINCT FROM o.pair_id AND o.served_pair_id IS NOT NULL
  AND (SELECT bool_or((SELECT e.state = 'failed' FROM helix.embedding e
                       WHERE e.generation_id = %(generation)s AND e.text_hash = t.text_hash))
       FROM helix.passage t
       WHERE t.pair_id = o.pair_id AND t.recipe = %(recipe)s)
