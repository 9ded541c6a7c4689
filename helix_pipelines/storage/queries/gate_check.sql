-- Whether a grant still holds after its wait.
SELECT helix.gate_check(%(key)s, %(lease)s, %(scope)s)
