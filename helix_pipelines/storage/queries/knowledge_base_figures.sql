-- Searchable pairs, rows that still serve an older answer, and texts that failed, over the whole knowledge base.
SELECT (SELECT count(DISTINCT served_pair_id) FROM helix.occurrence WHERE served_pair_id IS NOT NULL) AS searchable_pairs,
       (SELECT count(*) FROM helix.occurrence WHERE stale) AS stale_rows,
       (SELECT count(*) FROM helix.embedding e JOIN helix.embedding_generation g ON g.id = e.generation_id
        WHERE g.status = 'active' AND e.state = 'failed') AS failed_texts
