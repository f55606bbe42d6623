"""The double, as tests see it: a process of its own, which may be stopped, disturbed, and looked into."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from support.colonies.asking import Line, Member, stranger
from support.obeying import Obeying

_TESTS = Path(__file__).parents[2]


@dataclass(frozen=True)
class Assignment:
    """A process was given to an executor."""

    process_id: str
    executor: str
    time_ns: int


@dataclass(frozen=True)
class Asked:
    """A message that came in."""

    kind: str
    caller: str


class Double:
    """A server on a port of its own that rests between ``stop`` and ``start``, and keeps what it knows.

    It ends with the tests, whose end of its input it sees.
    """

    def __init__(self, **settings: Any) -> None:
        self.owner: Member = stranger("server")
        """Owner of the server."""
        settings = {"server_id": self.owner.identity, **settings}
        self._process = Obeying("support.colonies", settings)
        self._before = 0
        try:
            self.port: int = self._do("start")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def line(self) -> Line:
        """The way to it."""
        return Line("127.0.0.1", self.port)

    def close(self) -> None:
        """End it for good."""
        self._process.kill()

    def stop(self) -> None:
        """Cut all lines and take no more."""
        self._do("stop")

    def start(self) -> None:
        """Go on, on the same port and with the same knowledge."""
        self._do("start")

    @contextmanager
    def settings(self, **changed: Any) -> Generator[None]:
        """Change some of ``Settings`` for a while."""
        before = self._do("settings", **changed)
        try:
            yield
        finally:
            self._do("settings", **before)

    # Faults

    def fault(self, how: str, kind: str = "", **described: Any) -> None:
        """Have something go wrong; see ``Fault``."""
        self._do("fault", how=how, kind=kind, **described)

    def hits(self) -> list[int]:
        """How often each fault hit, in the order in which they were switched on."""
        return list(self._do("hits"))

    def clear_faults(self) -> None:
        """Have everything go well again."""
        self._do("clear_faults")

    # What it knows

    def mark(self) -> None:
        """What is asked from now on is what ``asked`` gives."""
        self._before += len(self.asked())

    def asked(self, kind: str = "") -> Sequence[Asked]:
        """Messages that came in since the mark, of one kind or of all."""
        found = [Asked(**each) for each in self._do("asked", since=self._before)]
        return [each for each in found if kind in ("", each.kind)]

    def assignments(self, process_id: str) -> Sequence[Assignment]:
        """To whom a process was given, the first first."""
        found = [Assignment(*each) for each in self._do("assignments")]
        return [each for each in found if each.process_id == process_id]

    def processes(self, colony: str) -> Sequence[Any]:
        """Processes of a colony, in the order in which they came."""
        return list(self._do("processes", colony=colony))

    def logs(self, process_id: str) -> Sequence[str]:
        """What was printed."""
        return list(self._do("logs", process_id=process_id))

    def files(self, colony: str) -> Sequence[Any]:
        """All revisions of files."""
        return list(self._do("files", colony=colony))

    def snapshots(self, colony: str) -> Sequence[Any]:
        """All snapshots."""
        return list(self._do("snapshots", colony=colony))

    def executors(self, colony: str) -> Sequence[Any]:
        """All executors, also those that are gone."""
        return list(self._do("executors", colony=colony))

    def _do(self, what: str, /, **how: Any) -> Any:
        return self._process.do(what, **how)
