"""Trained weights as files that other tools load, a format a file."""
