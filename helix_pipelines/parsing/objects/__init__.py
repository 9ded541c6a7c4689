"""Readers of formats whose records are objects: JSON, JSON Lines, YAML."""
