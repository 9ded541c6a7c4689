-- `sync`: earlier rows that the file no longer has are closed, each with a ledger line of its own. One that it has in a form that was
-- refused, and that was corrected before, is there. It is done again when rows of an earlier import come late.
WITH gone AS (
    DELETE FROM helix.occurrence o
    USING helix.import_job e, helix.import_job j
    WHERE o.source_id = %(source)s AND e.id = o.import_job_id AND j.id = %(job)s AND e.arrival < j.arrival
      AND NOT EXISTS (SELECT FROM helix.import_row q
                      WHERE q.import_job_id = %(job)s AND q.decision = 'quarantine' AND q.row_key = o.row_key)
    RETURNING o.row_key, o.pair_id, o.row_number, o.sheet, o.content_hash, o.question_key, o.external_key
)
INSERT INTO helix.import_row (import_job_id, ordinal, row_number, sheet, row_key, decision, pair_id,
                              content_hash, question_key, external_key)
SELECT %(job)s,
       (SELECT least(min(ordinal), 0) FROM helix.import_row WHERE import_job_id = %(job)s) - row_number() OVER (ORDER BY row_key),
       row_number, sheet, row_key, 'close', pair_id,
       content_hash, question_key, external_key
FROM gone
