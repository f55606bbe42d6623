"""The suite of the contract, for ours: requests."""

from pollinator.executors.conformance.requests import *  # noqa: F403
from support.executing import executor

__all__ = ["executor"]
