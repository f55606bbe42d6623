"""The contract of executors as a suite of tests, for ours and for those of others."""
