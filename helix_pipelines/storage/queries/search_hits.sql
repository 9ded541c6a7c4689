-- What is shown of each found pair, with the rows that it is served from. A corrected row is the row of the file that it was refused
-- from.
SELECT p.id, p.question, p.answer, c.name, s.stale, s.paths, s.sheets, s.rows
FROM unnest(%(pairs)s::bigint[]) WITH ORDINALITY AS found (pair_id, position)
JOIN helix.qa_pair p ON p.id = found.pair_id
JOIN helix.collection c ON c.id = p.collection_id
CROSS JOIN LATERAL (
    SELECT bool_and(o.stale) AS stale,
           array_agg(coalesce(f.path, j.path) ORDER BY o.import_job_id, o.ordinal) AS paths,
           array_agg(o.sheet ORDER BY o.import_job_id, o.ordinal) AS sheets,
           array_agg(o.row_number ORDER BY o.import_job_id, o.ordinal) AS rows
    FROM helix.occurrence o
    JOIN helix.import_job j ON j.id = o.import_job_id
    LEFT JOIN helix.import_job f ON f.id = j.replay_of
    WHERE o.served_pair_id = p.id
    HAVING count(*) > 0
) s
ORDER BY found.position
