"""The server's side of WatchRun, shared by the daemon and every executor.

The source is a log of events and one growing file per rank. A watcher keeps its own offsets and sleeps until
the source may have grown, so a slow client costs nothing and a client that comes back misses nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Protocol

from pollinator.v1.run_pb2 import (
    Heartbeat,
    OutputBlock,
    Progress,
    Run,
    RunEvent,
    RunState,
    WatchRunRequest,
    WatchRunResponse,
)
from pollinator.wire.errors import OutOfRange

BLOCK_BYTES = 64 * 1024
"""Small messages are dear: 100-byte ones carry 0.8 MiB/s, 64 KiB ones some 345."""

BLOCKS = 16
"""So many blocks of one rank are sent before others have their turn, however fast it prints."""

HEARTBEAT_S = 10.0

_ENDS = (
    RunState.RUN_STATE_SUCCEEDED,
    RunState.RUN_STATE_FAILED,
    RunState.RUN_STATE_CANCELLED,
    RunState.RUN_STATE_LOST,
)


class RunSource(Protocol):
    """Where a server keeps its runs. All but ``changed`` answer at once; ids are exact."""

    def get(self, run_id: str) -> Run:
        """The run as it is now; raises NotFound."""
        ...

    def events(self, run_id: str, after_seq: int) -> Sequence[RunEvent]:
        """Its events after a sequence number."""
        ...

    def ranks(self, run_id: str) -> Sequence[int]:
        """Ranks that have printed something so far."""
        ...

    def output_size(self, run_id: str, rank: int) -> int:
        """Bytes a rank has printed so far."""
        ...

    def read_output(self, run_id: str, rank: int, offset: int, limit: int) -> bytes:
        """Up to ``limit`` bytes of what a rank printed, from ``offset`` on; empty at the end."""
        ...

    def output_complete(self, run_id: str) -> bool:
        """No rank will print any more and every byte is readable."""
        ...

    def progress(self, run_id: str) -> Progress | None:
        """Bytes of the run that are on their way now; None when there are none."""
        ...

    def version(self, run_id: str) -> int:
        """A number that grows whenever events, output or progress of the run grow."""
        ...

    async def changed(self, run_id: str, seen: int, timeout_s: float) -> None:
        """Return when the version is (or may be) beyond ``seen``, at the latest after the timeout."""
        ...


class _Position:
    """How far one watcher is."""

    def __init__(self, source: RunSource, request: WatchRunRequest) -> None:
        self._source = source
        self._run_id = request.run_id
        self._tail_lines = request.tail_lines
        self._offsets = {each.rank: each.offset for each in request.offsets}
        self._output = request.output
        self.behind = False
        """There is more than the last ``news`` carried."""
        self.seq = request.after_seq
        self._progress: Progress | None = None
        for rank, offset in self._offsets.items():
            if offset > source.output_size(self._run_id, rank):
                raise OutOfRange(f"rank {rank} has not printed {offset} bytes", reason="offset_beyond_end")

    def news(self) -> Iterator[WatchRunResponse]:
        """Events, progress and output since the last call; not all of it when there is much."""
        for event in self._source.events(self._run_id, self.seq):
            yield WatchRunResponse(event=event)
            self.seq = event.seq
        progress = self._source.progress(self._run_id)
        if progress is not None and progress != self._progress:
            yield WatchRunResponse(progress=progress)
        self._progress = progress
        self.behind = False
        if self._output:
            for rank in self._source.ranks(self._run_id):
                # Most have printed nothing since: their files are not even opened.
                if self._source.output_size(self._run_id, rank) > self._offsets.get(rank, 0):
                    yield from self._printed(rank)
        # A rank that comes later has printed nothing yet that could be left out.
        self._tail_lines = 0

    def _printed(self, rank: int) -> Iterator[WatchRunResponse]:
        offset = self._offsets.get(rank)
        if offset is None:
            offset = self._tail_start(rank) if self._tail_lines else 0
        for _ in range(BLOCKS):
            data = self._source.read_output(self._run_id, rank, offset, BLOCK_BYTES)
            if not data:
                break
            yield WatchRunResponse(output=OutputBlock(rank=rank, offset=offset, data=data))
            offset += len(data)
        else:
            self.behind = True
        self._offsets[rank] = offset

    def _tail_start(self, rank: int) -> int:
        end = self._source.output_size(self._run_id, rank)
        wanted, position = self._tail_lines, end
        while position > 0:
            start = max(0, position - BLOCK_BYTES)
            block = self._source.read_output(self._run_id, rank, start, position - start)
            # The newline that ends the last line begins no line of its own.
            at = len(block) - 1 if position == end and block.endswith(b"\n") else len(block)
            while (at := block.rfind(b"\n", 0, at)) >= 0:
                wanted -= 1
                if wanted == 0:
                    return start + at + 1
            position = start
        return 0


async def watch_run(
    source: RunSource, request: WatchRunRequest, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[WatchRunResponse]:
    """Answer WatchRun for the run with exactly ``request.run_id``.

    Raises:
        NotFound: there is no such run.
        OutOfRange: an offset lies beyond what was printed.
    """
    run_id = request.run_id
    yield WatchRunResponse(run=source.get(run_id))
    position = _Position(source, request)
    # A watcher that began before the end must know when it has all of that, in case it is cut off.
    mark = request.tail_lines > 0 and request.follow
    last_word = clock()
    while True:
        # Both looked at before reading: what was complete then is read completely below, and what grows
        # while this watcher is busy sending does not go unnoticed.
        seen = source.version(run_id)
        ended = source.get(run_id).state in _ENDS and source.output_complete(run_id)
        for message in position.news():
            yield message
            last_word = clock()
        if position.behind:
            continue
        if ended or not request.follow:
            return
        if not mark:
            await source.changed(run_id, seen, HEARTBEAT_S)
        if mark or clock() - last_word >= HEARTBEAT_S:
            yield WatchRunResponse(heartbeat=Heartbeat())
            last_word, mark = clock(), False
