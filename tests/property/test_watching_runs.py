"""However a client is cut off, and whenever the daemon starts again: nothing is missed or told twice."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.output import OutputFiles
from pollinator.daemon.service import watching
from pollinator.daemon.service.watching import ProjectWatch
from pollinator.daemon.sync.projects import Projects
from pollinator.v1.project_pb2 import Edits, Project, WatchProjectRequest, WatchProjectResponse
from pollinator.v1.run_pb2 import Notice, Run, RunEvent, StartRunRequest
from support.scripted_executor import Ticks, open_records

ROOT = "/p"
NAMES = st.sampled_from("abcde")
STEPS = st.lists(
    st.one_of(
        *[st.tuples(st.just("run"), NAMES)] * 4,
        st.tuples(st.just("pin"), NAMES),
        st.just(("hear", "")),
        st.just(("hear all", "")),
        st.just(("lose", "")),
        st.just(("cut", "")),
        st.just(("restart", "")),
    ),
    min_size=10,
    max_size=40,
)
"""A run begins or goes on, or is pinned; the client takes a message, or all, or is cut off before."""

QUICK = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Still:
    """A project in which nothing happens."""

    version = 0
    busy = False

    @property
    def worker(self) -> Still:
        return self

    def get(self, root: str) -> Still:
        return self

    def describe(self) -> Project:
        return Project(root=ROOT)

    def edits(self, since: int | None) -> Edits:
        return Edits()

    async def changed(self, seen: int, timeout_s: float) -> None:
        """Nobody waits: where there is no news, a message without any follows at once."""


class Play:
    """A daemon's log, and a client that puts together what it hears."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records = open_records(folder)
        self._log = self._new_log()
        self._pinned: set[str] = set()
        self._known: dict[str, Run] = {}
        self._cursor = ""
        self._call: AsyncGenerator[WatchProjectResponse] | None = None

    def _new_log(self) -> RunLog:
        return RunLog(self._records, OutputFiles(self._folder / "output"), Ticks())

    def _truth(self) -> dict[str, Run]:
        found: dict[str, Run] = {}
        for name in "abcde":
            run = self._log.by_id(name)
            if run is not None:
                run.pinned = name in self._pinned
                found[name] = run
        return found

    async def step(self, what: str, name: str) -> None:
        match what:
            case "run" if self._log.by_id(name) is None:
                self._log.accept(Run(id=name, request_id=name, root=ROOT, attempt=1), StartRunRequest())
            case "run":
                self._log.append(name, RunEvent(notice=Notice(code="n")))
            case "pin" if name not in self._pinned and self._log.by_id(name) is not None:
                self._pinned.add(name)
                self._log.changes.note(ROOT, name)
            case "hear" if self._behind:
                self._take(await self._message())
            case "hear all":
                await self.catch_up()
            case "lose" if self._behind:
                await self._message()
                await self.cut()
            case "cut":
                await self.cut()
            case "restart":
                await self.cut()
                self._log = self._new_log()
            case _:
                pass

    @property
    def _behind(self) -> bool:
        """There is something to be heard; otherwise a call says nothing for long."""
        return self._call is None or self._known != self._truth()

    async def _message(self) -> WatchProjectResponse:
        if self._call is None:
            watch = ProjectWatch(cast("Projects", Still()), self._log, lambda: self._pinned)
            request = WatchProjectRequest(root=ROOT, runs=True, cursor=self._cursor)
            self._call = cast("AsyncGenerator[WatchProjectResponse]", watch.watch(request))
        return await anext(self._call)

    def _take(self, message: WatchProjectResponse) -> None:
        told = {run.id: run for run in message.runs}

        assert sorted(told) == [run.id for run in message.runs]
        if message.complete:
            self._known = told
        else:
            assert [] == [name for name, run in told.items() if run == self._known.get(name)]
            self._known |= told
        self._cursor = message.cursor

    async def cut(self) -> None:
        if self._call is not None:
            await self._call.aclose()
            self._call = None

    async def catch_up(self) -> None:
        """Hear all that there is."""
        for _ in range(len("abcde") + 1):
            if self._behind:
                self._take(await self._message())

        assert self._truth() == self._known

    async def close(self) -> None:
        await self.cut()
        self._records.close()


@QUICK
@given(steps=STEPS, at_once=st.integers(1, 2))
async def test_a_client_knows_every_run_as_it_is_and_hears_nothing_twice(
    steps: list[tuple[str, str]], at_once: int
) -> None:
    before = watching.AT_ONCE, watching.HEARTBEAT_S
    watching.AT_ONCE, watching.HEARTBEAT_S = at_once, 0.0
    with tempfile.TemporaryDirectory() as folder:
        play = Play(Path(folder))
        try:
            for what, name in steps:
                await play.step(what, name)
            await play.catch_up()
        finally:
            watching.AT_ONCE, watching.HEARTBEAT_S = before
            await play.close()
