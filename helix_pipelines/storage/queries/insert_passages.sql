-- Passages of new pairs by a recipe: recipe, then parallel arrays of pair, ordinal, text hash and body.
INSERT INTO helix.passage (pair_id, recipe, ordinal, text_hash, body)
SELECT u.pair, %s, u.ordinal, u.text_hash, u.body
FROM unnest(%s::bigint[], %s::smallint[], %s::uuid[], %s::text[]) AS u(pair, ordinal, text_hash, body)
ON CONFLICT DO NOTHING
