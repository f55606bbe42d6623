"""The life of a run at an executor, with a backend and a store that fail when they are told to."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from pollinator.chunks.keeping import read_lease
from pollinator.chunks.read import SnapshotReader
from pollinator.executors import lifecycle as under_test
from pollinator.executors.base import Observation
from pollinator.executors.boot import boot_id
from pollinator.executors.conformance.trees import File, Link, Listing
from pollinator.v1.run_pb2 import (
    CancelRequested,
    Notice,
    Outcome,
    RunEvent,
    RunState,
    Usage,
)
from pollinator.wire.errors import Denied
from support.hosting import (
    SECRET,
    Place,
    accepted,
    at_rest,
    cancel,
    gone,
    hosting,
    moved,
    place,
    story,
)

__all__ = ["place"]

QUEUED = RunState.RUN_STATE_QUEUED
STARTING = RunState.RUN_STATE_STARTING
RUNNING = RunState.RUN_STATE_RUNNING
SUCCEEDED = RunState.RUN_STATE_SUCCEEDED
FAILED = RunState.RUN_STATE_FAILED
CANCELLED = RunState.RUN_STATE_CANCELLED


async def test_a_lease_says_what_a_run_needs_from_its_start_until_its_daemon_has_it_all(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "LEASE_S", 0.01)
    request = place.request(src={b"main.py": b"x"})
    async with hosting(place) as host:
        await host.runs.StartRun(request)
        await host.state(QUEUED)
        first = read_lease(place.store, "l/run1")
        del place.store.objects["l/run1"]
        async with asyncio.timeout(20):
            while "l/run1" not in place.store.objects:  # noqa: ASYNC110 - nothing tells of a renewal
                await asyncio.sleep(0)
        (place.folder() / "work" / "result" / "r.txt").write_text("result")
        place.backend.now = Observation(SUCCEEDED, outcome=Outcome())
        run = await host.state(SUCCEEDED)
    last = read_lease(place.store, "l/run1")

    assert (request.snapshot.snapshot, "") == (first.source, first.result.key)
    assert (request.snapshot.snapshot, run.result) == (last.source, last.result)


async def test_a_run_goes_on_where_no_lease_may_be_written(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_lease: object) -> None:
        raise Denied("no leases here", reason="store_denied")

    monkeypatch.setattr(under_test, "write_lease", refuse)
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(QUEUED)
        place.backend.now = Observation(SUCCEEDED, outcome=Outcome())
        run = await host.state(SUCCEEDED)

    assert ["not_leased"] == [notice.code for notice in run.notices]


async def test_a_run_is_laid_out_handed_over_collected_and_cleaned(place: Place) -> None:
    src: Listing = {b"main.py": b"x", b"run.sh": File(b"#!/bin/sh\n", 0o755), b"to": Link(b"main.py")}
    request = place.request(src=src)
    async with hosting(place) as host:
        await host.runs.StartRun(request)
        await host.state(QUEUED)
        work = place.folder() / "work"

        assert ["main.py", "run.sh", "to"] == sorted(os.listdir(work / "src"))
        assert [[], []] == [os.listdir(work / name) for name in ("data", "result")]
        assert [("run1", {"TOKEN": SECRET})] == place.backend.submitted
        (work / "result" / "r.txt").write_text("result")
        place.backend.now = Observation(RUNNING, nodes=("n1",))
        await host.state(RUNNING)
        place.backend.now = Observation(
            FAILED, outcome=Outcome(exit_code=3), usage=Usage(peak_memory_bytes=5, memory_source="m")
        )
        run = await host.state(FAILED)

        await gone(work)
        assert ["LAUNCHING", "QUEUED", "RUNNING", "COLLECTING", "FAILED"] == await story(host)
    assert (3, 5, ["n1"]) == (run.outcome.exit_code, run.usage.peak_memory_bytes, list(run.nodes))
    result = SnapshotReader(place.store).open(run.result).result
    assert (1, len("result")) == (result.files, result.bytes)
    assert ["run1"] == place.backend.forgotten
    assert [] == at_rest(place)


async def test_what_a_backend_has_to_say_of_a_run_is_told_once(place: Place) -> None:
    link = Notice(code="link", text="look there")
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(QUEUED)
        place.backend.now = Observation(RUNNING, notices=(link,))
        await host.until(lambda run: bool(run.notices))
        place.backend.now = Observation(
            SUCCEEDED, outcome=Outcome(), notices=(link, Notice(text="it is over"))
        )
        run = await host.state(SUCCEEDED)

    assert ["look there", "it is over"] == [notice.text for notice in run.notices]


async def test_secrets_are_dropped_as_soon_as_the_ranks_run(place: Place) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(QUEUED)
        before = at_rest(place)
        place.backend.now = Observation(RUNNING)
        await host.state(RUNNING)

        assert (["private.pb"], []) == (before, at_rest(place))


async def test_a_run_that_waits_again_is_another_attempt(place: Place) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        seen: list[int] = []
        for state in (STARTING, RUNNING, QUEUED, RUNNING, QUEUED, STARTING):
            place.backend.now = Observation(state)
            seen.append((await host.state(state)).attempt)

    assert [1, 1, 2, 2, 3, 3] == seen


async def test_a_run_that_the_backend_shows_starting_again_stays_running(place: Place) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        place.backend.now = Observation(RUNNING)
        await host.state(RUNNING)
        place.backend.now = Observation(STARTING, nodes=("n2",))
        run = await host.until(lambda run: list(run.nodes) == ["n2"])

    assert RUNNING == run.state


async def test_a_run_that_was_over_before_it_was_seen_to_run_did_run(place: Place) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(QUEUED)
        (place.folder() / "started.json").touch()
        place.backend.end()
        run = await host.state(SUCCEEDED)

        assert ["LAUNCHING", "QUEUED", "RUNNING", "COLLECTING", "SUCCEEDED"] == await story(host)
    assert run.HasField("start_time")


async def test_a_run_that_the_backend_forgot_is_lost(place: Place) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(QUEUED)
        place.backend.now = Observation(RunState.RUN_STATE_LOST)

        await host.state(RunState.RUN_STATE_LOST)


async def test_a_run_cancelled_while_its_files_are_laid_out_never_reaches_the_backend(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = place.request()
    busy, go = threading.Event(), threading.Event()
    plain = place.store.get

    def slow(key: str, offset: int = 0, length: int | None = None) -> bytes:
        busy.set()
        go.wait(20)
        return plain(key, offset, length)

    monkeypatch.setattr(place.store, "get", slow)
    async with hosting(place) as host:
        await host.runs.StartRun(request)
        await asyncio.get_running_loop().run_in_executor(None, busy.wait, 20)
        await cancel(host)
        go.set()
        run = await host.state(CANCELLED)
        await gone(place.folder() / "work")

    assert [] == place.backend.submitted
    assert run.cancel_requested


async def test_a_run_cancelled_before_a_restart_is_not_laid_out(place: Place) -> None:
    request = place.request()
    async with hosting(place) as host:
        folder = host.folders.create(accepted(request), request)
        folder.append(RunEvent(cancel_requested=CancelRequested()))
    async with hosting(place) as host:
        await host.state(CANCELLED)

        assert ["LAUNCHING", "CANCELLED"] == await story(host)
    assert [] == place.store.gets


async def test_a_run_that_waits_or_runs_is_cancelled_by_the_backend(place: Place) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(QUEUED)
        await cancel(host)
        await cancel(host)
        run = await host.state(CANCELLED)
        await cancel(host)

        assert ["LAUNCHING", "QUEUED", "COLLECTING", "CANCELLED"] == await story(host)
    assert ["run1"] == place.backend.cancelled
    assert 143 == run.outcome.exit_code
    assert run.HasField("result")


async def test_a_wish_that_comes_after_the_end_changes_nothing(place: Place) -> None:
    place.backend.end()
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        before = await host.state(SUCCEEDED)
        await cancel(host)

        assert before == await host.run()


async def test_a_run_handed_over_before_a_restart_is_cancelled_by_the_backend(
    place: Place,
) -> None:
    request = place.request()
    async with hosting(place) as host:
        folder = host.folders.create(accepted(request), request)
        folder.append(moved(RunState.RUN_STATE_LAUNCHING))
        folder.append(RunEvent(cancel_requested=CancelRequested()))
        (folder.path / "laid-out").write_text(boot_id())
        (folder.path / "handed-over").touch()
    async with hosting(place) as host:
        await host.state(CANCELLED)

    assert (["run1"], ["run1"]) == ([run for run, _ in place.backend.submitted], place.backend.cancelled)
