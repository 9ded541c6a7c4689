-- The refused rows of an import that read the same bytes, as those of this file.
INSERT INTO rehearsed_row (file, ordinal, row_number, sheet, decision, code, reason)
SELECT %(file)s, ordinal, row_number, sheet, decision, code, reason
FROM known_row
WHERE import_job_id = %(same_as)s AND decision = 'quarantine'
