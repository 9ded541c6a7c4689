-- Rows of a range that are matched and not decided are as they were read. Equal rows are decided only with their range.
UPDATE helix.import_row
SET decision = 'pending', row_key = NULL, pair_id = NULL
WHERE import_job_id = %(job)s AND ordinal > 0 AND decision IN ('pending', 'unchanged') AND row_key IS NOT NULL
  AND question_key >= %(low)s AND (%(high)s::uuid IS NULL OR question_key < %(high)s)
