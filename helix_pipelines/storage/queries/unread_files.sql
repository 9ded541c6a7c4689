-- Imports of a batch whose rows have not been read and decided, whatever is the reason, and the first of their paths.
SELECT count(*), (array_agg(path ORDER BY arrival))[1]
FROM helix.import_job
WHERE batch_id = %(batch)s AND (state IN ('pending', 'stored') OR state = 'parsed' AND pending > 0)
