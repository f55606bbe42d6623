"""A bar for what takes long: how far it is, and how fast a transfer is of late and how long it still takes.

Drawn on terminals only, by ``terminal``; what is transferred is the business of others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

from pollinator.cli.terminal import Terminal
from pollinator.cli.words import bytes_text, left_text
from pollinator.v1.project_pb2 import StoreProgress
from pollinator.v1.run_pb2 import Progress, ProgressKind

PATIENCE_S = 1.0
"""What takes less is shown no bar: it would only flicker."""
WINDOW_S = 5.0
"""The rate is over so many seconds."""
_WIDE, _NARROW = 30, 10

_LABELS: dict[int, str] = {
    ProgressKind.PROGRESS_KIND_UPLOAD: "Uploading",
    ProgressKind.PROGRESS_KIND_LAY_OUT: "Laying out files",
    ProgressKind.PROGRESS_KIND_IMAGE: "Making the image ready",
    ProgressKind.PROGRESS_KIND_COLLECT: "Storing results",
    ProgressKind.PROGRESS_KIND_FETCH: "Fetching results",
    ProgressKind.PROGRESS_KIND_BRIDGE: "Carrying files",
}


class TransferBar:
    """The bar of one transfer after another, each told by its label."""

    def __init__(self, terminal: Terminal, clock: Callable[[], float] = time.monotonic) -> None:
        self._terminal = terminal
        self._clock = clock
        self._label = ""
        self._began = 0.0
        self._seen: deque[tuple[float, int]] = deque()

    def show(self, progress: Progress) -> None:
        """So far is a transfer that a server tells of."""
        label = _LABELS.get(progress.kind, "Transferring")
        self.move(label, progress.bytes_done, progress.bytes_total)

    def move(self, label: str, done: int, total: int) -> None:
        """So many bytes of so many are done; a total of 0 is not known."""
        if not self._terminal.bars:
            return
        now = self._clock()
        if label != self._label:
            self._label, self._began = label, now
            self._seen.clear()
        if self._seen:
            # What has to go again is no reason to go back.
            done = max(done, self._seen[-1][1])
        self._seen.append((now, done))
        while now - self._seen[0][0] > WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        if now - self._began >= PATIENCE_S:
            self._terminal.bar(bar_text(label, done, total, self._rate(), self._terminal.width - 1))

    def clear(self) -> None:
        """There is nothing to show any more."""
        self._label = ""
        self._seen.clear()
        self._terminal.clear_bar()

    def _rate(self) -> float:
        (began, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - began) if now > began else 0.0


class StepBar:
    """The bar of work that is counted in steps and not in bytes; labels may follow each other."""

    def __init__(self, terminal: Terminal, clock: Callable[[], float] = time.monotonic) -> None:
        self._terminal = terminal
        self._clock = clock
        self._began = clock()

    def show(self, progress: StoreProgress) -> None:
        """So far is what a server does in a store."""
        if self._clock() - self._began >= PATIENCE_S:
            self._terminal.bar(
                steps_text(progress.doing, progress.done, progress.total, self._terminal.width - 1)
            )


def steps_text(doing: str, done: int, total: int, width: int) -> str:
    """One line that fits into ``width``: ``Reading packs  [###.......]  3 of 10``."""
    label = doing[:1].upper() + doing[1:]
    words = f"{done} of {total}"
    cells = min(_WIDE, width - len(f"{label}  []  {words}"))
    drawn = f"  {_drawn(min(1.0, done / total), cells)}" if cells >= _NARROW and total else ""
    return f"{label}{drawn}  {words}"[:width]


def bar_text(label: str, done: int, total: int, rate: float, width: int) -> str:
    """One line that fits into ``width``: as much as there is room for, the time left before all else."""
    return next(text for text in _forms(label, done, total, rate, width) if len(text) <= width or not text)


def _forms(label: str, done: int, total: int, rate: float, width: int) -> Iterator[str]:
    """From the longest to the shortest, which is empty."""
    speed = f"{bytes_text(round(rate))}/s"
    if total <= 0:
        yield f"{label}  {bytes_text(done)}  {speed}"
        yield f"{label}  {bytes_text(done)}"
        yield ""
        return
    share = min(1.0, done / total)
    # Rounded down: all is done only when it is.
    percent = f"{int(share * 100):3}%"
    left = "" if done >= total else f"  {left_text((total - done) / rate if rate > 0 else None)}"
    amount = f"{bytes_text(done)} of {bytes_text(total)}"
    for words in (f"{percent}  {amount}  {speed}{left}", f"{percent}  {speed}{left}"):
        cells = min(_WIDE, width - len(f"{label}  [] {words}"))
        if cells >= _NARROW:
            yield f"{label}  {_drawn(share, cells)} {words}"
    yield f"{label} {percent}  {speed}{left}"
    yield f"{label} {percent}{left}"
    yield f"{label} {percent}"
    yield percent.strip()
    yield ""


def _drawn(share: float, cells: int) -> str:
    filled = int(share * cells)
    return f"[{'#' * filled}{'.' * (cells - filled)}]"
