SELECT count(*), min('text ' || e.text_hash)
FROM helix.embedding e
JOIN helix.embedding_generation g ON g.id = e.generation_id
WHERE e.vector IS NOT NULL AND vector_dims(e.vector::vector) <> g.dimensions
