"""Alembic's environment and the revisions of schema `helix`."""

HEAD = "0004"
"""The revision that this code needs; a test holds it against the newest file in `versions/`.

It is written down, as finding it out through Alembic costs 0.6 s at every start of the command line.
"""
