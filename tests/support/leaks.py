"""What a test leaves behind: open files, threads, child processes, tasks. A test that leaves something fails.

Measured around each test and its own fixtures; what fixtures of a module or of the session hold is theirs.
Things are counted by what they are, not by their number: a server that a test restarts is still one server.
"""

from __future__ import annotations

import asyncio
import gc
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio

GRACE_S = 10.0
"""Things that end by themselves soon after a test are no leak."""

_CONNECTIONS = frozenset({"socket", "anon_inode:[eventpoll]", "anon_inode:[eventfd]"})
_OF_ALL = re.compile(r"asyncio_\d+|Thread-\d+ \(_poll_wrapper\)")
"""Those of the loop's own pool, which stay until it is closed, and gRPC's, by which it serves every loop."""
_NUMBER = re.compile(r":\[\d+\]$|(?<=^Thread-)\d+")
"""As in socket:[4711] and Thread-12 (run)."""


class Held:
    """What this process holds, compared with what it held before."""

    def __init__(self, *, connections: bool) -> None:
        self._connections = connections
        self._before = self._count()

    def more(self) -> list[str]:
        """What there is more of than before, once what ends by itself has ended."""
        if not self._count() - self._before:
            return []
        gc.collect()
        deadline = time.monotonic() + GRACE_S
        while (more := self._count() - self._before) and time.monotonic() < deadline:
            time.sleep(0.01)
        return sorted(more.elements())

    @contextmanager
    def taken_by_others(self) -> Generator[None]:
        """What is taken meanwhile counts as held before."""
        start = self._count()
        try:
            yield
        finally:
            self._before += self._count() - start

    def _count(self) -> Counter[str]:
        files = _files()
        if not self._connections:
            files = Counter({name: number for name, number in files.items() if name not in _CONNECTIONS})
        return files + _threads() + _children()


_HELD = pytest.StashKey[Held | None]()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """A fixture of a wider scope may be set up within a test; what it takes is not the test's."""
    stash = request.config.stash
    held = stash.get(_HELD, None)
    if held is None or fixturedef.scope == "function":
        return (yield)
    # Those that it asks for itself are measured with it.
    stash[_HELD] = None
    try:
        with held.taken_by_others():
            return (yield)
    finally:
        stash[_HELD] = held


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails the test that leaves something behind."""
    # Our processes freeze what they have read once for all; in this one it would stay out of sight, and
    # hypothesis takes what it cannot see a reference to for lost.
    gc.unfreeze()
    if sys.platform != "linux":
        yield
        return
    uses_loop = pytest_asyncio.is_async_test(request.node)
    if uses_loop:
        request.getfixturevalue("_no_task_is_left")
    # gRPC opens its connections when it first needs them, also those of a client that a wider fixture holds.
    held = request.config.stash[_HELD] = Held(connections=not uses_loop)
    yield
    request.config.stash[_HELD] = None
    # pytest would hold the values of the fixtures, and with them what they hold, until after this.
    (request.node.funcargs or {}).clear()
    if more := held.more():
        pytest.fail(f"the test leaves behind: {', '.join(more)}")


@pytest.fixture
async def _no_task_is_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    more = asyncio.all_tasks() - before - {asyncio.current_task()}
    if more:
        _, more = await asyncio.wait(more, timeout=GRACE_S)
    if more:
        pytest.fail(f"the test leaves tasks behind: {more}")


def _files() -> Counter[str]:
    found = Counter[str]()
    for name in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found[_NUMBER.sub("", os.readlink(f"/proc/self/fd/{name}"))] += 1
    return found


def _threads() -> Counter[str]:
    alive = (each.name for each in threading.enumerate())
    return Counter(f"thread {_NUMBER.sub('', name)}" for name in alive if not _OF_ALL.fullmatch(name))


def _children() -> Counter[str]:
    """Those that run. Their command cannot be told at once: between fork and exec it is that of the tests."""
    pids = [pid for each in Path("/proc/self/task").iterdir() for pid in _read(each / "children").split()]
    states = [_read(Path("/proc", pid, "stat")).rpartition(")")[2].split()[:1] for pid in pids]
    return Counter("child process" for state in states if state not in ([], ["Z"]))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
