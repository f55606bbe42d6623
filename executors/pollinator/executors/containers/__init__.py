"""Container images and how commands run in them, for every executor."""
