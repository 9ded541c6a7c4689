-- Tie the files of a sealed batch to their imports, so that the next look leaves them alone. The size that a file had is recorded
-- as its import's until the file is stored: intake tells by it that somebody has begun to write a new version meanwhile.
WITH taken AS (
    SELECT known.path, known.bytes, job.id
    FROM unnest(%(names)s::text[], %(paths)s::text[]) AS file(name, path)
    JOIN helix.inbox_file known ON known.path = file.name
    JOIN helix.import_job job ON job.path = file.path
    JOIN helix.import_batch batch ON batch.id = job.batch_id AND batch.partition_key = %(key)s
), sized AS (
    UPDATE helix.import_job AS job SET bytes = taken.bytes FROM taken WHERE job.id = taken.id
)
UPDATE helix.inbox_file AS known SET import_job_id = taken.id FROM taken WHERE known.path = taken.path
