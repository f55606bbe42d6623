"""The daemon: watches projects, seals snapshots, starts and follows runs."""
