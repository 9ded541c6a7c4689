-- As count_range: rows per decision, and inserted or updated rows whose question has another answer in the collection.
SELECT count(*) FILTER (WHERE r.decision = 'insert') AS inserted,
       count(*) FILTER (WHERE r.decision = 'update') AS updated,
       count(*) FILTER (WHERE r.decision = 'unchanged') AS unchanged,
       count(*) FILTER (WHERE r.decision = 'duplicate') AS duplicate,
       count(*) FILTER (WHERE r.decision IN ('insert', 'update') AND (
           EXISTS (SELECT FROM rehearsed_occurrence o
                   WHERE o.collection_id = %(collection)s AND o.question_key = r.question_key AND o.content_hash <> r.content_hash)
           OR EXISTS (SELECT FROM known_pair p
                      WHERE p.collection_id = %(collection)s AND p.question_key = r.question_key AND p.content_hash <> r.content_hash
                        AND (EXISTS (SELECT FROM known_occurrence o
                                     WHERE o.served_pair_id = p.id AND o.pair_id = p.id
                                       AND o.source_id NOT IN (SELECT source_id FROM rehearsed_source))
                             OR EXISTS (SELECT FROM known_occurrence o
                                        WHERE o.pair_id = p.id AND o.served_pair_id IS DISTINCT FROM o.pair_id
                                          AND o.source_id NOT IN (SELECT source_id FROM rehearsed_source)))))) AS conflicts
FROM rehearsed_row r
WHERE r.file = %(file)s
