"""The suite of the contract, for ours: ends."""

from pollinator.executors.conformance.ends import *  # noqa: F403
from support.executing import executor

__all__ = ["executor"]
