-- The previous position of any other batch, whatever its priority; one less where there is none.
SELECT coalesce(max(position), %(position)s - 1)
FROM helix.import_batch
WHERE position < %(position)s AND id <> %(batch)s
