"""What nobody needs in a store, and whether all is there that somebody needs."""
