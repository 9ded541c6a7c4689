-- The rows of a source as they are, for the files of the command to change.
INSERT INTO rehearsed_occurrence (source_id, row_key, collection_id, content_hash, served_hash, question_key, external_key)
SELECT o.source_id, o.row_key, o.collection_id, o.content_hash,
       CASE WHEN o.served_pair_id = o.pair_id THEN o.content_hash
            ELSE (SELECT p.content_hash FROM known_pair p WHERE p.id = o.served_pair_id) END,
       o.question_key, o.external_key
FROM known_occurrence o
WHERE o.source_id = %(source)s
