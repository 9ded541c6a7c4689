-- Tie the files of a sealed batch to their imports, so that the next look leaves them alone.
UPDATE helix.inbox_file AS known
SET import_job_id = job.id
FROM unnest(%(names)s::text[], %(paths)s::text[]) AS taken(name, path)
JOIN helix.import_job job ON job.path = taken.path
JOIN helix.import_batch batch ON batch.id = job.batch_id AND batch.partition_key = %(key)s
WHERE known.path = taken.name
