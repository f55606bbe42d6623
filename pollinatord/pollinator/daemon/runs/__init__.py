"""The run log and what drives a run from acceptance to its end."""
