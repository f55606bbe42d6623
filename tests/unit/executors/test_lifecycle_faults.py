"""The life of a run at an executor whose store, disk or process fails."""

from __future__ import annotations

import os

import pytest

from pollinator.chunks.read import SnapshotReader
from pollinator.executors import lifecycle as under_test
from pollinator.executors.base import Job, Observation
from pollinator.executors.conformance.trees import Link, random_bytes
from pollinator.v1.run_pb2 import (
    RunState,
)
from pollinator.wire.errors import Denied, Exhausted, Unavailable
from support.disk import full_disk
from support.hosting import (
    SECRET,
    Place,
    accepted,
    at_rest,
    gone,
    hosting,
    moved,
    place,
    reason,
    story,
)

__all__ = ["place"]

QUEUED = RunState.RUN_STATE_QUEUED
STARTING = RunState.RUN_STATE_STARTING
RUNNING = RunState.RUN_STATE_RUNNING
SUCCEEDED = RunState.RUN_STATE_SUCCEEDED
FAILED = RunState.RUN_STATE_FAILED


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
    monkeypatch.setattr(under_test, "FILES_PATIENCE_S", 0.05)
    place.opening = [Unavailable("no answer", reason="down") for _ in range(10_000)]
    async with hosting(place) as host:
        await host.runs.StartRun(place.request())
        run = await host.state(FAILED)

    assert ("MATERIALISE", "no answer") == (reason(run.outcome), run.outcome.detail)
    assert ["store_unreachable"] == [notice.code for notice in run.notices]
    assert 0 < len(place.opening) < 10_000


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


async def test_what_is_in_the_way_of_the_files_is_the_end_and_says_so(place: Place) -> None:
    request = place.request()
    async with hosting(place) as host:
        folder = host.folders.create(accepted(request), request)
        (folder.path / "work").write_text("in the way")
    async with hosting(place) as host:
        run = await host.state(FAILED)

    assert "MATERIALISE" == reason(run.outcome)
    assert run.outcome.detail.startswith("cannot write ")


async def test_a_full_disk_is_the_end_and_says_so(place: Place) -> None:
    request = place.request(src={b"big": bytes(70 << 20)})
    async with hosting(place) as host:
        with full_disk(64 << 20):
            await host.runs.StartRun(request)
            run = await host.state(FAILED)

    assert "MATERIALISE" == reason(run.outcome)
    assert run.outcome.detail.startswith("no space left for ")


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
    stay = f"they stay in {place.folder() / 'work' / 'result'}"
    assert f"the results could not be stored: {error.message}\n{stay}" == run.outcome.detail
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
        await gone(place.folder() / "work")
    (place.folder() / "work").mkdir()
    (place.folder() / "private.pb").write_text(SECRET)

    async with hosting(place):
        await gone(place.folder() / "work")

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
        await gone(host.folders.folder("run1").path / "work")

        assert ["LAUNCHING", "COLLECTING", "SUCCEEDED"] == await story(host)
    assert 3 == len(tries)
