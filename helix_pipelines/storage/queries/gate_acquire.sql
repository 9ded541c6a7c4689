-- Ask for the right to send one request.
SELECT verdict, wait, lease, is_probe, code, message
FROM helix.gate_acquire(%(key)s, %(class)s, %(tokens)s::integer, %(ttl)s, %(max_wait)s, %(scope)s, %(holder)s)
