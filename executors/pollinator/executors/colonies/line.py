"""The ways to colonies: what is kept for each of them, as one member, as long as this process lives."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Generic, TypeVar

from pollinator.executors.colonies.cfs import ColonyFiles
from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.ledger import Ledger
from pollinator.executors.colonies.messages import Process, State
from pollinator.executors.colonies.objects import Objects
from pollinator.executors.colonies.together import AT_ONCE, in_thread
from pollinator.v1.colony_pb2 import Colony
from pollinator.wire.errors import InvalidInput, Violation

KNOWN_S = 5.0
"""What was heard of a colony's executors and queue is good so long."""

_Value = TypeVar("_Value")


class Line:
    """The way to one colony."""

    def __init__(self, colony: Colony, ledger: Ledger, threads: ThreadPoolExecutor) -> None:
        self.colony = colony
        self.client = Client(colony)
        self.executors = _Heard(self.client.executors)
        self.waiting = _Heard(self._waiting)
        self._ledger = ledger
        self._threads = threads
        self._opening = asyncio.Lock()
        self._objects: Objects | None = None
        self._files: ColonyFiles | None = None

    async def files(self) -> ColonyFiles:
        """Its files.

        Raises:
            InvalidInput: it is not known where their bytes are.
        """
        check_files(self.colony)
        async with self._opening:
            if self._files is None:
                # Its library takes a moment to load.
                self._objects = await in_thread(self._threads, Objects, self.colony.files)
                self._files = ColonyFiles(self.client, self._objects, self._ledger, self._threads)
            return self._files

    async def close(self) -> None:
        """Close it."""
        await self.client.close()
        if self._objects is not None:
            self._objects.close()

    async def _waiting(self) -> Sequence[Process]:
        return await self.client.processes(State.WAITING)


class Lines:
    """All of them.

    Args:
        state: a folder for what is known of their files.
    """

    def __init__(self, state: Path) -> None:
        self.threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="colony")
        self._ledger = Ledger(state / "colonies.db")
        self._lines: dict[bytes, Line] = {}

    def of(self, colony: Colony) -> Line:
        """The way to a colony, as this member."""
        name = colony.SerializeToString(deterministic=True)
        if name not in self._lines:
            self._lines[name] = Line(colony, self._ledger, self.threads)
        return self._lines[name]

    def let_go(self, holder: str) -> None:
        """Somebody needs no snapshot of any colony any more.

        Raises:
            Unavailable: that cannot be noted.
        """
        self._ledger.let_go(holder)

    async def close(self) -> None:
        """Close all of them."""
        for line in self._lines.values():
            await line.close()
        self._lines.clear()


def check_files(colony: Colony) -> None:
    """Refuse a colony of which it is not known where the bytes of its files are.

    Raises:
        InvalidInput: that is so.
    """
    if not colony.HasField("files"):
        raise InvalidInput(
            f"it is not known where the colony {colony.name} has the bytes of its files",
            reason="colony_files_missing",
            hint="set AWS_S3_ENDPOINT, AWS_S3_BUCKET, AWS_S3_ACCESSKEY and AWS_S3_SECRETKEY",
            violations=[Violation("AWS_S3_BUCKET", "is not set")],
        )


class _Heard(Generic[_Value]):
    """What a colony said a moment ago."""

    def __init__(self, ask: Callable[[], Awaitable[_Value]]) -> None:
        self._ask = ask
        self._asking = asyncio.Lock()
        self._at = float("-inf")
        self._value: _Value | None = None

    async def __call__(self, after: float = float("-inf")) -> _Value:
        """It, asked after a moment of the monotonic clock."""
        async with self._asking:
            now = time.monotonic()
            if self._value is None or now > self._at + KNOWN_S or self._at < after:
                self._value = await self._ask()
                self._at = now
            return self._value
