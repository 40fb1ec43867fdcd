"""Fidelity scores, kept drawings, adapter-only checkpoints, clean termination."""
