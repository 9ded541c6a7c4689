"""What could not be used, handed to people as a table and taken back corrected."""
