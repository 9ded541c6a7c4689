"""The `helix` command, one module a group of verbs."""
