"""Helix Pipelines: files of questions and answers become a searchable, traceable knowledge base."""

__version__ = "0.1.0"
