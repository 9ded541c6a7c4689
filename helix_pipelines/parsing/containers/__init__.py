"""What files come wrapped in: gzip, zip packages, compound files."""
