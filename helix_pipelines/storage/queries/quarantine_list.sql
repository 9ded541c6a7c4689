-- What could not be used, with its file and row: records refused while reading, and rows whose text has no vector for good. The
-- latest imports first, their rows in order. A row that failed to embed is listed where it was decided last.
-- `root` is the import that a row is known by: a replay corrects rows of another import and keeps their numbers. Records that a
-- replay got refused again are still the root's, and are listed for the replay itself only.
SELECT q.stage, q.import, j.path, s.name AS source, c.name AS collection, q.sheet, q.row, q.code, q.message,
       coalesce(q.question, q.raw ->> (j.columns ->> 'question')) AS question,
       q.answer, q.external_id, q.category, q.url, q.extra, q.raw, q.replayed_by,
       coalesce(j.replay_of, j.id) AS root, j.columns, j.state
FROM (
    SELECT 'parsing' AS stage, r.import_job_id AS import, r.sheet, r.row_number AS row, r.ordinal, r.code, r.reason AS message,
           t.question, t.answer, t.external_id, t.category, t.url, t.extra, t.raw, r.replayed_by
    FROM helix.import_row r
    LEFT JOIN helix.row_content t ON t.import_job_id = r.import_job_id AND t.ordinal = r.ordinal
    WHERE r.decision = 'quarantine'
    UNION ALL
    SELECT DISTINCT ON (r.import_job_id, r.ordinal)
           'embedding', r.import_job_id, r.sheet, r.row_number, r.ordinal, e.error_code, e.error_text,
           p.question, p.answer, ct.external_id, ct.category, ct.url, ct.extra, NULL, r.replayed_by
    FROM helix.embedding_generation g
    JOIN helix.embedding e ON e.generation_id = g.id AND e.state = 'failed'
    JOIN helix.passage t ON t.text_hash = e.text_hash AND t.recipe = g.recipe
    JOIN helix.qa_pair p ON p.id = t.pair_id
    JOIN helix.import_row r ON r.pair_id = t.pair_id AND r.decision IN ('insert', 'update', 'unchanged', 'duplicate')
    JOIN helix.import_job k ON k.id = r.import_job_id
    LEFT JOIN helix.row_content ct ON ct.import_job_id = r.import_job_id AND ct.ordinal = r.ordinal
    WHERE g.status = 'active'
      AND (r.replayed_by IS NOT NULL OR EXISTS (
          SELECT FROM helix.occurrence o
          WHERE o.source_id = k.source_id AND o.row_key = r.row_key
            AND o.import_job_id = r.import_job_id AND o.ordinal = r.ordinal))
) q
JOIN helix.import_job j ON j.id = q.import
JOIN helix.import_batch b ON b.id = j.batch_id
JOIN helix.source s ON s.id = j.source_id
JOIN helix.collection c ON c.id = s.collection_id
WHERE j.undone_at IS NULL
  AND (%(all)s OR q.replayed_by IS NULL)
  AND (j.replay_of IS NULL OR q.stage = 'embedding' OR %(import_id)s::bigint IS NOT NULL)
  AND (%(stage)s::text IS NULL OR q.stage = %(stage)s)
  AND (%(import_id)s::bigint IS NULL
       OR q.import = (SELECT coalesce(i.same_as, i.id) FROM helix.import_job i WHERE i.id = %(import_id)s))
  AND (%(batch)s::text IS NULL OR b.partition_key = %(batch)s)
  AND (%(code)s::text IS NULL OR q.code = %(code)s)
  AND (%(collection)s::text IS NULL OR c.name = %(collection)s)
  AND (%(source)s::text IS NULL OR s.name = %(source)s)
  AND (%(column)s::text IS NULL
       OR strpos(q.message, %(column_quoted)s) > 0
       OR strpos(q.message, '''' || left(j.columns ->> %(column)s, 40) || '''') > 0
       OR EXISTS (SELECT FROM jsonb_each_text(j.columns) AS role(name, label)
                  WHERE %(column)s IN (role.name, role.label) AND strpos(q.message, 'the ' || role.name || ' is column') > 0))
  AND (%(roots)s::bigint[] IS NULL OR (coalesce(j.replay_of, j.id), coalesce(q.sheet, ''), q.row) IN (
      SELECT place.root, place.sheet, place.row
      FROM unnest(%(roots)s::bigint[], %(sheets)s::text[], %(rows)s::integer[]) AS place(root, sheet, row)))
ORDER BY q.import DESC, q.stage DESC, q.ordinal
LIMIT %(limit)s
