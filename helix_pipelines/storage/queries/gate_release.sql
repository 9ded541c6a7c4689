-- Give a lease back and say how its request went.
SELECT helix.gate_release(
    %(key)s, %(lease)s, %(outcome)s, %(tokens)s::integer, %(wait)s,
    %(limit_requests)s, %(remaining_requests)s, %(limit_tokens)s, %(remaining_tokens)s,
    %(code)s, %(message)s, %(scope)s)
