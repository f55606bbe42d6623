"""How those who wait are told that a process has a new state."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any


class Listener:
    """Somebody who waits for processes of one type to be in one state."""

    def __init__(self, target: str, process_id: str) -> None:
        self.target = target
        self.process_id = process_id
        self.told = asyncio.Queue[Any]()


class Signals:
    """All who wait. Belongs to one event loop."""

    def __init__(self) -> None:
        self._listeners = defaultdict[str, list[Listener]](list)
        self._turn = defaultdict[str, int](int)

    def listen(self, kind: str, state: int, process_id: str = "", location: str = "") -> Listener:
        """Wait from now on, for one process or for any."""
        listener = Listener(_target(kind, state, location), process_id)
        self._listeners[listener.target].append(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Wait no more."""
        self._listeners[listener.target].remove(listener)
        if not self._listeners[listener.target]:
            del self._listeners[listener.target]

    def tell(self, process: Any) -> None:
        """Tell all who wait for this process, and one of those who wait for any.

        A defect of the server: that one may be an executor which the process is not for. Then nobody who it
        is for learns of it before their own wait is over.
        """
        woken = False
        for target in self._targets(process):
            waiting = self._listeners[target]
            for each in waiting:
                if each.process_id == process["processid"]:
                    each.told.put_nowait(process)
            anybody = [each for each in waiting if not each.process_id]
            if anybody and not woken:
                turn = self._turn[target] % len(anybody)
                anybody[turn].told.put_nowait(process)
                self._turn[target] = (turn + 1) % len(anybody)
                woken = True

    def _targets(self, process: Any) -> list[str]:
        conditions = process["spec"]["conditions"]
        kind, location = conditions["executortype"], conditions.get("locationname", "")
        if location:
            targets = [_target(kind, process["state"], each) for each in (location, "")]
            return [each for each in targets if each in self._listeners]
        start = _target(kind, process["state"], "")
        return [each for each in self._listeners if each.startswith(start)]


def _target(kind: str, state: int, location: str) -> str:
    return f"{kind}{state}{location}"
