"""Frozen values and pure decisions; no input or output."""
