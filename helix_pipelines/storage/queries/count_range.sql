-- What a range came to: rows per decision, and inserted or updated rows whose question has another answer in the collection.
SELECT count(*) FILTER (WHERE r.decision = 'insert') AS inserted,
       count(*) FILTER (WHERE r.decision = 'update') AS updated,
       count(*) FILTER (WHERE r.decision = 'duplicate') AS duplicate,
       count(*) FILTER (WHERE r.decision IN ('insert', 'update') AND EXISTS (
           SELECT FROM helix.qa_pair p
           WHERE p.collection_id = %(collection)s AND p.question_key = r.question_key AND p.id <> r.pair_id
             AND (EXISTS (SELECT FROM helix.occurrence o WHERE o.served_pair_id = p.id AND o.pair_id = p.id)
                  OR EXISTS (SELECT FROM helix.occurrence o
                             WHERE o.pair_id = p.id AND o.served_pair_id IS DISTINCT FROM o.pair_id)))) AS conflicts
FROM helix.import_row r
WHERE r.import_job_id = %(job)s AND r.question_key >= %(low)s AND (%(high)s::uuid IS NULL OR r.question_key < %(high)s)
