-- Whether a living run of another batch is between the matching and the end of the deciding of a file of the same source.
SELECT EXISTS (
    SELECT
    FROM helix.import_job o
    JOIN helix.import_batch b ON b.id = o.batch_id AND b.state = 'running' AND b.lease_expires_at > clock_timestamp()
    JOIN helix.checkpoint c ON c.import_job_id = o.id AND c.phase = %(matched_against)s
    WHERE o.source_id = %(source)s AND o.batch_id <> %(batch)s AND o.state = 'parsed'
      AND (o.pending > 0
           OR o.mode = 'sync' AND NOT EXISTS (SELECT FROM helix.checkpoint d
                                              WHERE d.import_job_id = o.id AND d.phase = %(closed)s))
)
