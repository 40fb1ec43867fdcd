"""The embedded default: a small drawn world and the small models trained on it."""
