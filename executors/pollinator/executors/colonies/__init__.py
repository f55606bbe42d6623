"""A colony of a Colonies server, in both directions: runs that go there, and runs that come from there."""
