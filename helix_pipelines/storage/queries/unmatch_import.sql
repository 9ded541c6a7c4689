-- An import is to be matched from the start: its counters are those of the rows that were decided, its checkpoints those of before.
WITH steps AS (
    DELETE FROM helix.checkpoint WHERE import_job_id = %(job)s AND (phase LIKE 'match\_%%/%%' OR phase = 'vanished')
)
UPDATE helix.import_job
SET vanished = 0,
    unchanged = (SELECT count(*) FROM helix.import_row WHERE import_job_id = %(job)s AND decision = 'unchanged')
WHERE id = %(job)s
