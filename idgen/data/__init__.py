"""Prepared subjects to batches; prompt suites."""
