"""Errors that carry their verdict, retries, deadlines, and the engine for everything that calls out."""
