"""The suite of the contract, for ours: output."""

from pollinator.executors.conformance.output import *  # noqa: F403
from support.executing import executor

__all__ = ["executor"]
