"""The container beside the ranks of a pod: tells the executor what they print and leave, and brings its word.

``python -m pollinator.executors.kubernetes.collect``. What it tells are pages in the store; see ``pages``. It
ends once all was told and the results of this node are in the store. Killed and started again in the same pod
it goes on where it was: what it has told is in its own folder, which no rank sees.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from pollinator.chunks.capture import Captured, capture
from pollinator.chunks.keeping import write_lease
from pollinator.chunks.keys import lease_of_part
from pollinator.chunks.layout import disk_errors
from pollinator.chunks.store import Store
from pollinator.executors.kubernetes.data import GO, STOP, WORK
from pollinator.executors.kubernetes.pages import (
    JOURNAL,
    PAGE_BYTES,
    WORDS,
    Incoming,
    Outgoing,
    Page,
    Piece,
)
from pollinator.executors.kubernetes.pod import ENDING, NOTES, STAYS, Ending, Pod, Reach, begin_log, words
from pollinator.executors.kubernetes.ranks import Ranks
from pollinator.v1.keeping_pb2 import Lease
from pollinator.wire.errors import Corrupt, InvalidInput, PollinatorError, WrongState
from pollinator.wire.faults import crash_point

LOOK_S = 0.1
"""How often the files of the ranks are looked at."""
HEAR_S = (0.25, 1.0, 2.0)
"""How often the executor's words are asked for: at first, after ``SOON_S``, and after ``LATE_S``."""
TELL_S = (0.25, 0.5, 2.0)
"""The same for telling what was printed; what the supervisor notes is told at once."""
SOON_S, LATE_S = 60.0, 1800.0
RESULTS_PATIENCE_S = 24 * 3600.0
"""So long a store that does not take the results is waited for: they are nowhere else."""
SLACK_S = 10.0
"""So much longer than they are given the ranks may take to end."""
NAMED = 10
"""So many files that could not be collected are named."""

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


class Collecting:
    """One pod, until its ranks have ended and all of them is told. Belongs to one thread.

    Args:
        pod: this one.
        ending: set when the pod is to end.
    """

    def __init__(self, pod: Pod, ending: Ending) -> None:
        self._pod = pod
        self._plan = pod.plan()
        self._ending = ending
        self._reach = Reach(pod, self._plan.project, ending)
        self._ranks = Ranks(pod)
        notes = pod.at(NOTES)
        notes.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._out = Outgoing(notes, self._plan.run_id, pod.uid)
        # From the first one after a restart as well: to be told twice is harmless.
        self._words = Incoming(self._plan.run_id, pod.uid + WORDS)
        self._gone = False
        """The executor says that no rank of this pod runs any more."""
        self._end_at: float | None = None
        self._begun = time.monotonic()
        self._tell_at = self._hear_at = 0.0
        self._told: dict[int, int] = {}
        """How much of what each rank printed, and of the journal."""
        self._last = b""
        """How the journal ends, as far as it was told."""

    def run(self) -> None:
        """Tell all there is, and end."""
        self._do(self._out.settle)
        state = self._out.state
        self._told = {int(rank): offset for rank, offset in state.get("told", {}).items()}
        self._last = str(state.get("last", "")).encode()
        if not state.get("over"):
            while not self._are_over():
                self._hear()
                if not self._tell():
                    time.sleep(LOOK_S)
            while self._tell(last=True):
                pass
            if not self._is_done():
                # Nobody else can tell.
                self._send(Page(about={"node": self._pod.node, "quiet": True}), self._told, over=False)
            crash_point("before_pod_results")
            self._finish(self._results())
        if os.environ.get(STAYS):
            # A side-car of the pod: whoever ends before the ranks' container would be started again.
            self._ending.wait()

    def close(self) -> None:
        """Release connections."""
        self._reach.drop()

    # What is told

    def _tell(self, *, last: bool = False) -> bool:
        """Tell the next page; False when there is nothing, or it is too early for it."""
        # Before the output: what was printed before a line was written is told no later than that.
        journal = self._ranks.journal(self._told.get(JOURNAL, 0))
        now = time.monotonic()
        if not journal and not last and now < self._tell_at:
            return False
        pieces = self._ranks.printed(self._told, PAGE_BYTES - len(journal))
        full = sum(len(each.data) for each in pieces) >= PAGE_BYTES - len(journal)
        if journal and not full:
            if not self._told.get(JOURNAL):
                # Only now they begin: their image may have been on its way for long.
                self._begun = now
            pieces.append(Piece(JOURNAL, self._told.get(JOURNAL, 0), journal))
            self._last = (self._last + journal)[-100:]
        if not pieces:
            return False
        told = self._told | {each.rank: each.offset + len(each.data) for each in pieces}
        self._send(Page(pieces, about={"node": self._pod.node}), told, over=False)
        self._told = told
        self._tell_at = 0.0 if full else now + self._pace(TELL_S)
        return True

    def _send(self, page: Page, told: dict[int, int], *, over: bool) -> None:
        state = {"told": told, "last": self._last.decode("utf-8", "replace"), "over": over}
        number = self._out.number

        def send(store: Store) -> None:
            # What was written down before the store failed is this page.
            self._out.settle(store)
            if self._out.number == number:
                self._out.send(store, page, state)

        self._do(send)

    def _finish(self, about: dict[str, Any]) -> None:
        self._send(Page(about=about | {"node": self._pod.node, "over": True}), self._told, over=True)

    def _results(self) -> dict[str, Any]:
        """Have the results in the store; what is to be told of them."""
        folder = self._pod.at(WORK) / "result"
        if folder.is_symlink() or not folder.is_dir():
            return {"none": "result is not a folder any more"}
        try:
            found = self._do(lambda store: self._capture(store, folder))
        except (PollinatorError, OSError) as error:
            return {"failed": words(error)}
        skipped = [f"result/{line}" for line in found.skipped[:NAMED]]
        if len(found.skipped) > NAMED:
            skipped.append(f"{len(found.skipped) - NAMED} more")
        result = {"key": found.ref.key, "digest": found.ref.digest.hex()}
        return {"result": result, "skipped": skipped}

    def _capture(self, store: Store, folder: Path) -> Captured:
        data = folder.with_name("data")
        kept = data if self._plan.keeps and data.is_dir() and not data.is_symlink() else None
        with disk_errors(folder):
            found = capture(folder, store, data=kept)
        try:
            # Until the executor has read of it nobody else keeps it.
            write_lease(store, lease_of_part(self._plan.run_id, self._pod.node), Lease(result=found.ref))
        except (Corrupt, InvalidInput, WrongState) as error:
            _log.warning("the store takes no lease: %s", error.message)
        return found

    # What is heard

    def _hear(self) -> None:
        """Take the executor's next words, if it is time."""
        if time.monotonic() < self._hear_at:
            return
        try:
            while (page := self._words.next(self._reach.store())) is not None:
                self._bring(page.files)
                self._gone = self._gone or bool(page.about.get("gone"))
                self._words.number += 1
        except PollinatorError as error:
            _log.warning("the executor cannot be heard: %s", error.message)
            self._reach.drop()
        self._hear_at = time.monotonic() + self._pace(HEAR_S)

    def _bring(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            if name in (GO, STOP):
                try:
                    self._ranks.bring(name, text)
                except OSError as error:
                    # Their own doing: then they are ended from outside.
                    _log.warning("the ranks cannot be told: %s", error)

    def _are_over(self) -> bool:
        """No rank prints or writes anything any more."""
        if self._gone or self._is_done():
            return True
        if not self._ending.is_set():
            return False
        if self._end_at is None:
            # A pod that is to end tells all its containers at once.
            waits_s = self._plan.grace_s + SLACK_S if self._ranks.journal(0) else 0.0
            self._end_at = time.monotonic() + waits_s
        return time.monotonic() >= self._end_at

    def _is_done(self) -> bool:
        return b"done" in self._last.split(b"\n")

    def _pace(self, of: tuple[float, float, float]) -> float:
        age_s = time.monotonic() - self._begun
        return of[0] if age_s < SOON_S else of[1] if age_s < LATE_S else of[2]

    def _do(self, work: Callable[[Store], _Result]) -> _Result:
        return self._reach.do(work, RESULTS_PATIENCE_S, RESULTS_PATIENCE_S)


def main(arguments: list[str]) -> int:
    """Tell of the pod until it is over; the exit code of the container."""
    begin_log()
    pod = Pod.here(arguments)
    ending = Ending(pod.at(NOTES) / ENDING)

    def end(number: int, frame: FrameType | None) -> None:
        ending.set()

    signal.signal(signal.SIGTERM, end)
    collecting = Collecting(pod, ending)
    try:
        collecting.run()
    except (PollinatorError, OSError) as error:
        _log.exception("what is left of the run cannot be told")
        pod.note_end(words(error))
        return 1
    finally:
        collecting.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
