-- (2) Rows whose owner's id stands once among what is left on each side continue that row.
WITH taken AS (
    SELECT row_key FROM helix.import_row WHERE import_job_id IN (%(job)s, %(replay_of)s) AND row_key IS NOT NULL
), mine AS MATERIALIZED (
    SELECT min(ordinal) AS ordinal, external_key
    FROM helix.import_row
    WHERE import_job_id = %(job)s AND decision = 'pending' AND row_key IS NULL
      AND external_key >= %(low)s AND (%(high)s::uuid IS NULL OR external_key < %(high)s)
    GROUP BY external_key HAVING count(*) = 1
), theirs AS MATERIALIZED (
    SELECT min(o.row_key) AS row_key, o.external_key
    FROM helix.occurrence o
    WHERE o.source_id = %(source)s
      AND o.external_key >= %(low)s AND (%(high)s::uuid IS NULL OR o.external_key < %(high)s)
      AND NOT EXISTS (SELECT FROM taken t WHERE t.row_key = o.row_key)
    GROUP BY o.external_key HAVING count(*) = 1
)
UPDATE helix.import_row r
SET row_key = t.row_key
FROM mine m JOIN theirs t USING (external_key)
WHERE r.import_job_id = %(job)s AND r.ordinal = m.ordinal
