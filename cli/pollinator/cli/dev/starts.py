"""The requests of a loop: the same wishes again and again, as they are or as a smoke test on this machine."""

from __future__ import annotations

import uuid

from pollinator.v1.run_pb2 import StartRunRequest
from pollinator.v1.store_pb2 import StoreSettings

SMOKE_ON = "local"
"""Where a smoke test runs."""

_SMALL = (
    "environment.source=",
    "environment.args=",
    "conditions.nodes=1",
    "conditions.processesPerNode=1",
    "conditions.gpu.count=0",
    "conditions.cpu=0",
    "conditions.mem=0",
    "conditions.requeue=false",
)
"""A smoke test asks for nothing that this machine might not have, whatever the project does."""


class Starts:
    """Makes each request of one loop, with an id of its own.

    Attributes:
        executor: where runs are to go; empty for where the project says.
        smoke: the command of the smoke test; empty for none.
    """

    def __init__(self, first: StartRunRequest, smoke: str) -> None:
        self._first = first
        self.executor = first.project.overrides.executor
        self.smoke = smoke

    @property
    def store(self) -> StoreSettings | None:
        """The one that the environment asks for."""
        return self._first.project.store if self._first.project.HasField("store") else None

    def real(self) -> StartRunRequest:
        """A run as it was asked for."""
        request = self._fresh()
        request.project.overrides.executor = self.executor
        return request

    def small(self) -> StartRunRequest:
        """The smoke test before it."""
        request = self._fresh()
        request.smoke = True
        overrides = request.project.overrides
        overrides.executor = SMOKE_ON
        del overrides.arguments[:]
        overrides.set.extend([*_SMALL, f"environment.cmd={self.smoke}"])
        return request

    def _fresh(self) -> StartRunRequest:
        request = StartRunRequest()
        request.CopyFrom(self._first)
        request.request_id = str(uuid.uuid4())
        return request
