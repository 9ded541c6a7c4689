"""Third stage: rows are normalised, matched to their earlier selves and decided upon."""
