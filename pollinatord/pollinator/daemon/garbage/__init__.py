"""Whether all is in a store that somebody needs."""
