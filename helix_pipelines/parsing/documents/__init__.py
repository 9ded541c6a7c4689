"""Readers of documents for people, Markdown and HTML, in which questions are headings or marked as such."""
