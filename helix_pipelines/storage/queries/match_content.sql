-- (1) Rows with the same content as an earlier row of their source are that row, unchanged; twins are paired in file order. A
-- correction is no row that its file has besides. Nobody else writes these rows, so each is found again by its place (ctid).
WITH mine AS MATERIALIZED (
    SELECT ctid AS place, content_hash, row_number() OVER (PARTITION BY content_hash ORDER BY ordinal) AS nth
    FROM helix.import_row
    WHERE import_job_id = %(job)s AND decision = 'pending' AND row_key IS NULL
      AND question_key >= %(low)s AND (%(high)s::uuid IS NULL OR question_key < %(high)s)
), theirs AS MATERIALIZED (
    SELECT row_key, pair_id, content_hash, row_number() OVER (PARTITION BY content_hash ORDER BY row_key) AS nth
    FROM helix.occurrence
    WHERE source_id = %(source)s AND question_key >= %(low)s AND (%(high)s::uuid IS NULL OR question_key < %(high)s)
      AND (%(replay_of)s::bigint IS NULL OR row_key NOT IN (
          SELECT row_key FROM helix.import_row WHERE import_job_id = %(replay_of)s AND row_key IS NOT NULL))
)
UPDATE helix.import_row r
SET decision = 'unchanged', row_key = t.row_key, pair_id = t.pair_id
FROM mine m JOIN theirs t USING (content_hash, nth)
WHERE r.import_job_id = %(job)s AND r.ctid = m.place
