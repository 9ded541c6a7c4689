-- `sync` imports of a source that arrived after this one and have closed what vanished already, in the order of their arrival.
SELECT k.id
FROM helix.import_job j
JOIN helix.import_job k ON k.source_id = j.source_id AND k.arrival > j.arrival AND k.mode = 'sync' AND k.undone_at IS NULL
JOIN helix.checkpoint c ON c.import_job_id = k.id AND c.phase = %(closed)s
WHERE j.id = %(job)s AND j.source_id = %(source)s
ORDER BY k.arrival
