"""What an import would do, found out without doing it: read, matched and counted in tables of one database session."""
