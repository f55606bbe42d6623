"""The suite of the contract, for ours: surroundings."""

from pollinator.executors.conformance.surroundings import *  # noqa: F403
from support.executing import executor

__all__ = ["executor"]
