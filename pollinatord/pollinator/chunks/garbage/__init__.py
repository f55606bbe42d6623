"""Finding out what a store must keep, and removing the rest."""
