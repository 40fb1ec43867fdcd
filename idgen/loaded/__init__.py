"""Models out of their runs, ready to draw: a checkpoint, an export, or a bare backbone."""
