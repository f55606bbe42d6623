"""The suite of the contract, for ours: results."""

from pollinator.executors.conformance.results import *  # noqa: F403
from support.executing import executor

__all__ = ["executor"]
