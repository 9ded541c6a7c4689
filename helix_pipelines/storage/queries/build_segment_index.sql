-- The index that search_vectors_sealed.sql reads: partial, by the same expression.
CREATE INDEX CONCURRENTLY {index} ON {partition}
USING hnsw ((vector::halfvec({dimensions})) halfvec_cosine_ops)
WHERE segment = {segment}
