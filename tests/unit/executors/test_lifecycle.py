"""The life of a run at an executor, with a backend and a store that fail when they are told to."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from pollinator.chunks.read import SnapshotReader
from pollinator.executors import host as host_module
from pollinator.executors import lifecycle as under_test
from pollinator.executors.base import Job, Observation
from pollinator.v1.run_pb2 import (
    CancelRequested,
    CancelRunRequest,
    Outcome,
    OutcomeReason,
    Run,
    RunEvent,
    RunState,
    StartRunRequest,
    StateChanged,
    Usage,
    WatchRunRequest,
)
from pollinator.wire.errors import Denied, Exhausted, Unavailable
from support.disk import full_disk
from support.hosting import SECRET, Host, Place, hosting
from support.storing import File, Link, Listing, random_bytes

QUEUED = RunState.RUN_STATE_QUEUED
STARTING = RunState.RUN_STATE_STARTING
RUNNING = RunState.RUN_STATE_RUNNING
SUCCEEDED = RunState.RUN_STATE_SUCCEEDED
FAILED = RunState.RUN_STATE_FAILED
CANCELLED = RunState.RUN_STATE_CANCELLED


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(under_test, "LOOK_S", 0.001)
    monkeypatch.setattr(under_test, "RETRY_S", 0.001)
    monkeypatch.setattr(host_module, "RETRY_S", 0.001)
    return Place(tmp_path)


async def story(host: Host) -> list[str]:
    """States that the run went through."""
    messages = [message async for message in host.runs.WatchRun(WatchRunRequest(run_id="run1"))]
    moves = [each.event.state_changed for each in messages if each.event.HasField("state_changed")]
    return [RunState.Name(move.state).removeprefix("RUN_STATE_") for move in moves]


async def cancel(host: Host) -> None:
    await host.runs.CancelRun(CancelRunRequest(run_id="run1", by="me"))


def accepted(request: StartRunRequest) -> Run:
    """The run as the host writes it down."""
    source = request.snapshot
    return Run(id=source.run_id, project=source.spec.project, spec=source.spec, snapshot=source.snapshot)


def moved(state: RunState.ValueType) -> RunEvent:
    return RunEvent(state_changed=StateChanged(state=state))


def reason(outcome: Outcome) -> str:
    return OutcomeReason.Name(outcome.reason).removeprefix("OUTCOME_REASON_")


def at_rest(place: Place) -> list[str]:
    """Files of the run that hold the secret."""
    files = [path for path in place.folder().rglob("*") if path.is_file()]
    return [path.name for path in files if SECRET.encode() in path.read_bytes()]


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

        assert ["LAUNCHING", "QUEUED", "RUNNING", "COLLECTING", "FAILED"] == await story(host)
    assert (3, 5, ["n1"]) == (run.outcome.exit_code, run.usage.peak_memory_bytes, list(run.nodes))
    result = SnapshotReader(place.store).open(run.result).result
    assert (1, len("result")) == (result.files, result.bytes)
    assert ["run1"] == place.backend.forgotten
    assert not work.exists()
    assert [] == at_rest(place)


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


# Cancelling


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

    assert [] == place.backend.submitted
    assert run.cancel_requested
    assert not (place.folder() / "work").exists()


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
        for name in ("laid-out", "handed-over"):
            (folder.path / name).touch()
    async with hosting(place) as host:
        await host.state(CANCELLED)

    assert (["run1"], ["run1"]) == ([run for run, _ in place.backend.submitted], place.backend.cancelled)


# Laying out


async def test_a_snapshot_that_is_not_there_is_the_end(place: Place) -> None:
    request = place.request(src={b"big": random_bytes(3 << 20)})
    place.store.objects.clear()
    async with hosting(place) as host:
        await host.runs.StartRun(request)
        run = await host.state(FAILED)

    assert "MATERIALISE" == reason(run.outcome)
    assert run.outcome.detail
    assert [] == place.backend.submitted
    assert [] == at_rest(place)


async def test_files_that_may_not_be_laid_out_are_the_end(place: Place) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(place.request(src={b"out": Link(b"/etc/passwd")}))
        run = await host.state(FAILED)

    assert "MATERIALISE" == reason(run.outcome)
    assert "leads out of the tree" in run.outcome.detail


async def test_a_store_that_does_not_answer_is_waited_for(place: Place) -> None:
    place.opening = [Unavailable("no answer", reason="down") for _ in range(3)]
    place.backend.end()
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(SUCCEEDED)

    assert [] == place.opening


async def test_a_store_that_never_answers_is_not_waited_for_without_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "TRIES", 4)
    place.opening = [Unavailable("no answer", reason="down") for _ in range(9)]
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        run = await host.state(FAILED)

    assert ("MATERIALISE", "no answer") == (reason(run.outcome), run.outcome.detail)
    assert 5 == len(place.opening)


async def test_files_half_laid_out_before_a_restart_are_laid_out_anew(place: Place) -> None:
    request = place.request()
    async with hosting(place) as host:
        folder = host.folders.create(accepted(request), request)
        folder.append(moved(RunState.RUN_STATE_LAUNCHING))
        (folder.path / "work" / "src").mkdir(parents=True)
        (folder.path / "work" / "src" / "half").write_text("x")
    async with hosting(place) as host:
        await host.state(QUEUED)

        assert ["main.py"] == os.listdir(place.folder() / "work" / "src")


async def test_a_full_disk_is_the_end_and_says_so(place: Place) -> None:
    request = place.request(src={b"big": bytes(70 << 20)})
    async with hosting(place) as host:
        with full_disk(64 << 20):
            await host.runs.StartRun(request)
            run = await host.state(FAILED)

    assert "MATERIALISE" == reason(run.outcome)
    assert run.outcome.detail.startswith("no space left for ")


# Collecting


async def test_results_wait_for_a_store_that_does_not_answer(place: Place) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(QUEUED)
        (place.folder() / "work" / "result" / "r").write_text("x")
        place.store.fail_puts = [Unavailable("no answer", reason="down") for _ in range(3)]
        place.backend.end(3)
        run = await host.state(FAILED)

    assert (3, True) == (run.outcome.exit_code, run.HasField("result"))
    assert [] == place.store.fail_puts


@pytest.mark.parametrize("error", [Denied("no right", reason="denied"), Exhausted("full", reason="quota")])
async def test_results_that_cannot_be_stored_are_kept_and_said(
    place: Place, error: Denied | Exhausted
) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(QUEUED)
        (place.folder() / "work" / "result" / "r").write_text("kept")
        place.store.fail_puts = [error]
        place.backend.end(3)
        run = await host.state(FAILED)

    assert ("COLLECT", 3) == (reason(run.outcome), run.outcome.exit_code)
    assert f"the results could not be stored: {error.message}" == run.outcome.detail
    assert "kept" == (place.folder() / "work" / "result" / "r").read_text()
    assert [] == at_rest(place)
    assert ["run1"] == place.backend.forgotten
    async with hosting(place) as host:
        assert run == await host.run()
    assert (place.folder() / "work" / "result" / "r").exists()


async def test_what_cannot_be_collected_is_named_whatever_its_name(place: Place) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(QUEUED)
        result = os.fsencode(place.folder() / "work" / "result")
        os.mkfifo(result + b"/pipe \xff")
        (place.folder() / "work" / "result" / "good").write_text("x")
        place.backend.end()
        run = await host.state(SUCCEEDED)

    (notice,) = run.notices
    assert "not_collected" == notice.code
    assert "not collected: result/pipe \\xff: no file, folder or link" == notice.text
    assert 1 == SnapshotReader(place.store).open(run.result).result.files


async def test_a_run_that_removed_its_result_folder_has_no_result(place: Place) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(QUEUED)
        (place.folder() / "work" / "result").rmdir()
        place.backend.end()
        run = await host.state(SUCCEEDED)

    assert not run.HasField("result")


# Restarts


@pytest.mark.parametrize("state", [QUEUED, STARTING, RUNNING])
async def test_a_run_goes_on_where_it_was_after_a_restart(place: Place, state: RunState.ValueType) -> None:
    place.backend.now = Observation(state)
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(state)
    async with hosting(place) as host:
        place.backend.end(7)
        run = await host.state(FAILED)

    assert 7 == run.outcome.exit_code
    assert ["run1", "run1"] == [run_id for run_id, _ in place.backend.submitted]


async def test_results_are_collected_after_a_restart_without_handing_over_again(place: Place) -> None:
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(QUEUED)
        place.opening = [Unavailable("no answer", reason="down") for _ in range(10_000)]
        place.backend.end(3)
        await host.state(RunState.RUN_STATE_COLLECTING)
    place.opening.clear()
    async with hosting(place) as host:
        run = await host.state(FAILED)

    assert (3, True, 1) == (run.outcome.exit_code, run.HasField("result"), len(place.backend.submitted))


async def test_what_an_ended_run_has_left_goes_with_the_next_start(place: Place) -> None:
    place.backend.end()
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(SUCCEEDED)
    (place.folder() / "work").mkdir()
    (place.folder() / "private.pb").write_text(SECRET)

    async with hosting(place):
        assert not (place.folder() / "work").exists()
        assert [] == at_rest(place)


async def test_a_run_whose_end_is_recorded_is_cleaned_up_at_another_try(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[str] = []
    plain = place.backend.forget

    def forget(job: Job) -> None:
        tries.append("once")
        if len(tries) < 3:
            raise OSError(28, "No space left on device")
        plain(job)

    monkeypatch.setattr(place.backend, "forget", forget)
    place.backend.end()
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        await host.state(SUCCEEDED)
        wait = host.folders.folder("run1").path / "work"
        async with asyncio.timeout(20):
            while wait.exists():  # noqa: ASYNC110 - a folder rings no bell
                await asyncio.sleep(0.001)

        assert ["LAUNCHING", "COLLECTING", "SUCCEEDED"] == await story(host)
    assert 3 == len(tries)
