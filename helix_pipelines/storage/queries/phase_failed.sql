-- Why an attempt at a phase ended, where it was, and what helps.
UPDATE helix.phase_run
SET state = %(state)s, finished_at = clock_timestamp(), error_code = %(code)s, error = %(error)s,
    recoverable = %(recoverable)s, advice = %(advice)s, place = %(place)s
WHERE id = %(id)s AND state = 'running'
