"""From a changed file to a published snapshot, and back for results."""
