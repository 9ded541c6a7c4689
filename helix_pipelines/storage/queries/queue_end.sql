-- A position behind all others.
SELECT floor(coalesce(max(position), 0)) + 1 FROM helix.import_batch
