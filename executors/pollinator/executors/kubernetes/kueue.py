"""What Kueue says of Jobs that wait in its queues: why they do, and how many are before them."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from pollinator.executors.kubernetes.api import Api
from pollinator.executors.kubernetes.data import Manifest
from pollinator.executors.kubernetes.seen import MOST_WORDS
from pollinator.wire.documents import as_entries, as_entry
from pollinator.wire.errors import Denied, NotFound, PollinatorError

AGAIN_S = 60.0
"""So long what is not there, or not ours to know, is not asked for again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Turn:
    """The place of a Workload among those that wait, from 0."""

    here: int
    in_all: int
    """Among all whose queues share the same quota."""
    of: int
    """How many wait in the queue."""

    def __str__(self) -> str:
        words = f"number {self.here + 1} of {self.of} in the queue"
        if self.in_all != self.here:
            words += f", number {self.in_all + 1} of all that share its quota"
        return words


class Kueue:
    """Kueue, if a cluster has it.

    Args:
        api: of the namespace.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._silent_until: dict[str, float] = {}

    async def words(self, waiting: Mapping[str, str]) -> dict[str, str]:
        """Why Jobs wait, in words, of those of which anything is known.

        Kueue tells the reason only to those that it has tried: whoever is behind others has a place alone.

        Args:
            waiting: uids of Jobs that are suspended, each with its queue.
        """
        held: dict[str, tuple[str, str]] = {}
        for uid in waiting:
            for each in await self._unless_silent("Jobs", self._api.workloads, uid):
                held[uid] = str(as_entry(each.get("metadata")).get("name", "")), _why(each)
        turns = {queue: await self._turns(queue) for queue in sorted({waiting[uid] for uid in held})}
        said: dict[str, str] = {}
        for uid, (name, why) in held.items():
            turn = turns[waiting[uid]].get(name)
            if words := "; ".join(str(each) for each in (turn, why) if each):
                said[uid] = words
        return said

    async def _turns(self, queue: str) -> dict[str, _Turn]:
        """Who waits in a queue, by the names of their Workloads."""
        found = await self._unless_silent(f"queue {queue}", self._api.pending, queue)
        return {
            str(as_entry(each.get("metadata")).get("name", "")): _Turn(
                _place(each, "positionInLocalQueue"), _place(each, "positionInClusterQueue"), len(found)
            )
            for each in found
        }

    async def _unless_silent(
        self, what: str, ask: Callable[[str], Awaitable[list[Manifest]]], about: str
    ) -> list[Manifest]:
        if time.monotonic() < self._silent_until.get(what, 0.0):
            return []
        try:
            return await ask(about)
        except (NotFound, Denied) as error:
            _log.info("of %s Kueue says nothing: %s", what, error)
            self._silent_until[what] = time.monotonic() + AGAIN_S
        except PollinatorError as error:
            _log.info("Kueue does not answer about %s: %s", what, error)
        return []


def _place(found: Manifest, name: str) -> int:
    value = found.get(name, 0)
    return value if isinstance(value, int) else 0


def _why(found: Manifest) -> str:
    """Why Kueue holds a Job back."""
    for condition in as_entries(as_entry(found.get("status")).get("conditions")):
        if condition.get("type") in ("QuotaReserved", "Admitted") and condition.get("status") == "False":
            return str(condition.get("message", ""))[:MOST_WORDS]
    return ""
