"""Calls that move many bytes: a client that gave one an id can watch how far it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager

from pollinator.v1.run_pb2 import Progress, ProgressKind
from pollinator.wire.progress import TELL_S, Teller


class Transfers:
    """The calls under way, by their ids. Lives on the loop's thread."""

    def __init__(self) -> None:
        self._progress: dict[str, Progress] = {}

    @contextmanager
    def under(self, transfer_id: str, kind: ProgressKind.ValueType) -> Generator[Teller]:
        """A call that can be watched until the block ends, by what it tells; without an id by nobody."""

        def keep(progress: Progress) -> None:
            if transfer_id in self._progress:
                self._progress[transfer_id] = progress

        if transfer_id:
            self._progress[transfer_id] = Progress(kind=kind)
        try:
            yield Teller(keep, kind)
        finally:
            self._progress.pop(transfer_id, None)

    async def watch(self, transfer_id: str) -> AsyncIterator[Progress]:
        """How far a call is, whenever that changes, until it ends; nothing for one that is not under way."""
        told: Progress | None = None
        while (progress := self._progress.get(transfer_id)) is not None:
            if progress != told:
                yield progress
                told = progress
            await asyncio.sleep(TELL_S)
