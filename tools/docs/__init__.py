"""Building the documentation."""
