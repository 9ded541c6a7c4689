-- Refused rows of a file by code: how many, the first numbers, and the reason of the first one.
SELECT code, max(total) AS count, array_agg(row_number ORDER BY ordinal) AS rows,
       (array_agg(reason ORDER BY ordinal))[1] AS reason
FROM (
    SELECT code, ordinal, row_number, reason,
           count(*) OVER (PARTITION BY code) AS total, row_number() OVER (PARTITION BY code ORDER BY ordinal) AS nth
    FROM rehearsed_row
    WHERE file = %(file)s AND decision = 'quarantine'
) refused
WHERE nth <= %(shown)s
GROUP BY code
ORDER BY count DESC, code
