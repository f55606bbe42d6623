"""Executors: processes that turn a run into work on one backend."""
