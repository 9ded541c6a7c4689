-- The latest batches with the counters of their files.
SELECT b.partition_key AS batch,
       b.name,
       b.state,
       b.run_id,
       b.created_at,
       b.finished_at,
       b.error,
       count(*) FILTER (WHERE j.state <> 'unpacked') AS files,
       count(*) FILTER (WHERE j.state IN ('rejected', 'failed')) AS files_refused,
       sum(j.rows_read) AS rows_read,
       sum(j.inserted) AS inserted,
       sum(j.updated) AS updated,
       sum(j.unchanged) AS unchanged,
       sum(j.duplicate) AS duplicate,
       sum(j.quarantined) AS quarantined,
       sum(j.pending) AS pending
FROM (SELECT * FROM helix.import_batch ORDER BY id DESC LIMIT %(limit)s) b
JOIN helix.import_job j ON j.batch_id = b.id
GROUP BY b.id, b.partition_key, b.name, b.state, b.run_id, b.created_at, b.finished_at, b.error
ORDER BY b.id DESC
