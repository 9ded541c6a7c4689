-- A position before all others.
SELECT ceil(coalesce(min(position), 2)) - 1 FROM helix.import_batch
