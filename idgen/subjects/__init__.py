"""`idgen fit` for a folder of several subjects' folders: a run for each, and a table."""
