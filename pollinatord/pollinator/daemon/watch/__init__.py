"""Seeing what changes below a folder."""
