"""Second stage: one reader a format; all yield bounded chunks of `ParsedRow`."""
