-- A batch by its key, kept from changing until the transaction ends.
SELECT id, state, priority, position, stop_requested FROM helix.import_batch WHERE partition_key = %(key)s FOR UPDATE
