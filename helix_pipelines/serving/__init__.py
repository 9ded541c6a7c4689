"""Last stage: hybrid search, indexes and the figures that show that nothing was lost."""
