"""idgen: one subject, learnt from a few photos, kept apart from their background and pose."""

__version__ = "0.1.0"
