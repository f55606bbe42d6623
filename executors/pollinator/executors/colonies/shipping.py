"""What a run prints on its way into the log of its process: whole lines, soon, each of them once.

A server says nothing of rows it has been given already. So each is written down before it is sent, and where
the answer is lost the log itself is asked whether it is there: rows are added by one executor alone, so their
number tells.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from pollinator.executors.colonies.client import MOST_LOGS, Client
from pollinator.executors.colonies.errands import Errand, Row
from pollinator.executors.colonies.refusals import Unanswered
from pollinator.executors.colonies.rows import row_of
from pollinator.executors.colonies.standing import Holding
from pollinator.wire.errors import Denied, InvalidInput, PollinatorError
from pollinator.wire.faults import crash_point

PATIENCE_S = 0.8
"""So long the rest of a line is waited for."""
PACE_S = 0.05
"""Between rows: what is printed meanwhile goes in one."""
MOST_BYTES = 64 * 1024
"""In a row."""
FULL_BYTES = 4 * 1024 * 1024
"""So much is held for rows; the rest stays on disk."""
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
SETTLE_S = 1.0
"""Between two looks at a log that have to agree."""
REFUSALS_S = 120.0
"""So long a row that is refused is sent again: a server says so as well when its database is away."""
_log = logging.getLogger(__name__)


class Rows:
    """Cuts what ranks print into rows.

    Args:
        offsets: so much of each rank has been shipped.
        exact: whoever reads them knows of ranks and of what is no text; else that is replaced.
    """

    def __init__(self, offsets: dict[int, int], *, exact: bool = False) -> None:
        self._starts = dict(offsets)
        self._exact = exact
        self._held: dict[int, bytearray] = {}
        self._since: dict[int, float] = {}

    @property
    def held_bytes(self) -> int:
        """So much is held."""
        return sum(map(len, self._held.values()))

    def add(self, rank: int, offset: int, data: bytes, now: float) -> None:
        """Take a block; what was taken before is left out."""
        held = self._held.setdefault(rank, bytearray())
        known = self._starts.setdefault(rank, 0) + len(held)
        if fresh := data[max(0, known - offset) :]:
            if not held:
                self._since[rank] = now
            held += fresh

    def due_s(self, now: float) -> float | None:
        """In so many seconds the oldest piece of a line has waited long enough; None when there is none."""
        waiting = [self._since[rank] for rank, held in self._held.items() if held]
        return max(0.0, min(waiting) + PATIENCE_S - now) if waiting else None

    def take(self, now: float, *, ended: bool = False) -> Row | None:
        """The next row, the rank first that has waited longest; None when nothing is due."""
        for rank in sorted(filter(self._held.__getitem__, self._held), key=self._since.__getitem__):
            held = self._held[rank]
            late = ended or now - self._since[rank] >= PATIENCE_S or len(held) >= MOST_BYTES
            length = held.rfind(b"\n", 0, MOST_BYTES) + 1 or (_letters(held, ended) if late else 0)
            if not length:
                if late:
                    self._since[rank] = now
                continue
            start = self._starts[rank]
            piece = bytes(held[:length])
            text = row_of(rank, piece) if self._exact else _readable(piece)
            del held[:length]
            self._starts[rank] = start + length
            self._since[rank] = now
            return Row(rank, start, start + length, text)
        return None


def _readable(piece: bytes) -> str:
    """Text that every server can keep."""
    return piece.decode("utf-8", "replace").replace("\0", "\ufffd")


def _letters(held: bytearray, ended: bool) -> int:
    """How many bytes hold whole letters; those of a part of one wait for the rest, if there is one."""
    end = min(len(held), MOST_BYTES)
    if ended and end == len(held):
        return end
    for back in range(1, min(4, end + 1)):
        byte = held[end - back]
        if byte & 0xC0 != 0x80:
            length = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
            return end - back if length > back else end
    return end


class Shipper:
    """Brings rows of one process into its log.

    Args:
        client: the colony.
        errand: of the process; how far it is stays there.
        keep: writes the errand down.
        holding: says whose the process is.
    """

    def __init__(self, client: Client, errand: Errand, keep: Callable[[], None], holding: Holding) -> None:
        self._client = client
        self._errand = errand
        self._keep = keep
        self._holding = holding

    async def finish(self) -> None:
        """Have the row there that was on its way when the executor ended.

        Raises:
            Gone: the process is not ours any more.
        """
        if self._errand.sending is not None:
            await self._deliver(self._errand.sending, doubtful=True)

    async def ship(self, row: Row) -> None:
        """Have a row there.

        Raises:
            Gone: the process is not ours any more.
        """
        self._errand.sending = row
        self._keep()
        crash_point("before_colony_row")
        await self._deliver(row, doubtful=False)

    async def _deliver(self, row: Row, *, doubtful: bool) -> None:
        pause_s, began = FIRST_PAUSE_S, time.monotonic()
        while True:
            await self._holding.ours()
            try:
                if not (doubtful and await self._is_there(row)):
                    await self._client.add_log(self._errand.process_id, row.text)
                    self._errand.rows += 1
                break
            except PollinatorError as error:
                # Of what failed there nobody knows how far it came.
                doubtful = doubtful or isinstance(error, Unanswered) or error.reason == "colony_failed"
                if isinstance(error, InvalidInput) and time.monotonic() - began > REFUSALS_S:
                    size = row.end - row.start
                    _log.error("%d bytes of %s are in no log: %s", size, self._errand.run_id, error)
                    break
                if isinstance(error, Denied):
                    await self._holding.refused()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        crash_point("after_colony_row")
        self._errand.offsets[row.rank] = row.end
        self._errand.sending = None
        self._keep()

    async def _is_there(self, row: Row) -> bool:
        """Count what was added since the last time; where others have added as well, the last row tells."""
        before, (count, last, mark_ns) = None, await self._added()
        while before != count:
            # A server that was stuck does what it was asked long ago only now.
            await asyncio.sleep(SETTLE_S)
            before, (count, last, mark_ns) = count, await self._added()
        expected, self._errand.rows, self._errand.mark_ns = self._errand.rows, 0, mark_ns
        if count == expected + 1:
            return True
        return count != expected and last == row.text

    async def _added(self) -> tuple[int, str, int]:
        """How many rows came since the mark; the text and the time of the last one."""
        count, last, mark_ns = 0, "", self._errand.mark_ns
        while True:
            rows = await self._client.logs(self._errand.process_id, mark_ns)
            if rows:
                count, last, mark_ns = count + len(rows), rows[-1].message, rows[-1].time_ns
            if len(rows) < MOST_LOGS:
                return count, last, mark_ns
