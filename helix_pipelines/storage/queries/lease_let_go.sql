-- What a run still holds when it ends is free at once; its state is for whoever learns how the run ended.
UPDATE helix.import_batch SET lease_expires_at = least(lease_expires_at, clock_timestamp())
WHERE id = %(batch)s AND lease_token = %(token)s
