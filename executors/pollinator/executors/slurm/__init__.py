"""Runs as jobs of Slurm, with nothing but an ordinary account."""
