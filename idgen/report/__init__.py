"""Pages for people: scores and drawings in one file that a browser opens without a server."""
