"""A store that several use at once in a test, and their ways to it, on which much may happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from pollinator.chunks.flow import Flow
from pollinator.chunks.store import Listed
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.daemon.watch.base import Changes, Skip
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import PollinatorError
from support.storing import MemoryStore

_Values = ParamSpec("_Values")
_Result = TypeVar("_Result")


class Killed(BaseException):
    """The process of whoever asks the store is killed."""


class AtOnce:
    """Stands in for the threads that put packs: a put is made when it is asked for."""

    def __init__(self, _workers: int, **_options: str) -> None: ...

    def submit(
        self, work: Callable[_Values, _Result], *args: _Values.args, **kwargs: _Values.kwargs
    ) -> Future[_Result]:
        future: Future[_Result] = Future()
        try:
            future.set_result(work(*args, **kwargs))
        except PollinatorError as error:
            future.set_exception(error)
        return future

    def shutdown(self, *, wait: bool, cancel_futures: bool) -> None: ...


class AllChanged:
    """A watch that knows nothing, so that everything is looked at each time."""

    kind = "test"
    degraded = ""

    def __init__(self, _root: Path, _skip: Skip) -> None: ...

    def start(self) -> None: ...

    def drain(self) -> Changes:
        return Changes(subtrees=frozenset((b"",)))

    def wait(self, timeout_s: float) -> bool:
        del timeout_s
        return False

    def refresh(self) -> None: ...

    def close(self) -> None: ...


@dataclass
class Shared(MemoryStore):
    """The store of both."""

    removed: int = 0

    def delete(self, key: str) -> None:
        super().delete(key)
        self.removed += 1


@dataclass
class Way:
    """Someone's way to the store: on it, time may pass and others act, and the process may be killed."""

    store: Shared
    skew_ns: int
    """How wrong the clock of this machine is."""
    countdown: int = -1
    surprise: Callable[[], None] | None = None
    """What happens before the request at which the countdown ends."""

    @property
    def identity(self) -> str:
        return "shared"

    @property
    def requests(self) -> int:
        return self.store.requests

    @property
    def retries(self) -> int:
        return self.store.retries

    @property
    def sent(self) -> Flow:
        return self.store.sent

    def put(self, key: str, data: bytes | memoryview) -> None:
        self._pass()
        self.store.put(key, data)
        self._pass()

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        self._pass()
        return self.store.get(key, offset, length)

    def missing(self, keys: list[str]) -> list[str]:
        self._pass()
        return self.store.missing(keys)

    def keys(self, prefix: str = "") -> Iterator[str]:
        self._pass()
        return self.store.keys(prefix)

    def listing(self, prefix: str = "") -> Iterator[Listed]:
        self._pass()
        return self.store.listing(prefix)

    def delete(self, key: str) -> None:
        self._pass()
        self.store.delete(key)

    def check(self) -> None: ...

    def close(self) -> None: ...

    def _pass(self) -> None:
        if self.surprise is None:
            return
        self.countdown -= 1
        if self.countdown < 0:
            surprise, self.surprise = self.surprise, None
            surprise()


@dataclass
class Run:
    """A run as its daemon knows it."""

    source: SnapshotRef
    result: SnapshotRef | None = None
    taken_over: bool = False
    """The ref of its client names all that there is of it, and its lease is gone."""


@dataclass
class Client:
    """One daemon with one folder of the project."""

    name: str
    folder: Path
    way: Way
    engine: SyncEngine | None = None
    lives: int = 0
    runs: dict[str, Run] = field(default_factory=dict[str, Run])

    @property
    def index(self) -> Path:
        return self.folder / f"index-{self.lives}.db"
