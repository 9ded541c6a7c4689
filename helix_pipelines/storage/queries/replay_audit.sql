-- Who asked for which rows to be replaced by corrections: numbers of rows, never their text.
INSERT INTO helix.audit_log (actor, table_name, action, row_count, keys)
SELECT helix.actor(), 'import_row', 'replay', %(count)s,
       jsonb_build_object('import', j.replay_of, 'replay', j.id, 'rows', %(rows)s::jsonb)
FROM helix.import_job j
JOIN helix.import_batch b ON b.id = j.batch_id
WHERE b.partition_key = %(batch)s AND j.replay_of = %(import_id)s
