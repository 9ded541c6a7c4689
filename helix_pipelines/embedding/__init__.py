"""Fourth stage: passages become vectors, each text once per generation."""
