"""The suite of the contract, for ours: requeue."""

from pollinator.executors.conformance.requeue import *  # noqa: F403
from support.executing import executor

__all__ = ["executor"]
