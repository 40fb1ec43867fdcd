"""Evaluation of what is drawn, adapter-only checkpoints, clean termination."""
