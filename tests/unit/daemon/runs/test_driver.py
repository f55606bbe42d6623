"""Driving a run to its end, whatever its executor, the wire, the disk and the user do meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from pollinator.daemon.sync.sealed import Sealed
from pollinator.model.run import fold
from pollinator.v1.project_pb2 import SyncReport
from pollinator.v1.run_pb2 import (
    Notice,
    OutcomeReason,
    Progress,
    ProgressKind,
    Run,
    RunEvent,
    RunState,
    Secret,
)
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import Snapshot, SnapshotRef
from pollinator.wire.errors import Exhausted, Internal, InvalidInput, Unavailable, Violation
from support.disk import full_disk
from support.driving import World, hurry, world
from support.scripted_executor import RUN_ID, STORE_ID, moved, until

__all__ = ["hurry", "world"]


async def test_an_executor_that_comes_back_with_nothing_has_lost_the_run(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING", "RUNNING")
    world.executor.print(0, b"so far\n")
    async with world.driving():
        await until(lambda: world.daemon.output.size(RUN_ID, 0) == 7, "its output is here")
        world.executor.knows_it = False
        world.wire.cut()

        run = await world.ended()

    assert (RunState.RUN_STATE_LOST, OutcomeReason.OUTCOME_REASON_BACKEND) == (run.state, run.outcome.reason)
    assert b"so far\n" == world.daemon.output.read(RUN_ID, 0, 0, 100)


async def test_how_far_a_transfer_at_the_executor_is_can_be_seen_here_while_it_takes(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING", "STARTING")
    laying_out = Progress(bytes_done=1, bytes_total=3, kind=ProgressKind.PROGRESS_KIND_LAY_OUT)
    async with world.driving():
        world.executor.move(laying_out)
        await until(lambda: world.daemon.log.progress(RUN_ID) == laying_out, "it is told here")
        world.executor.move(None)
        world.executor.record(moved("STARTING"))
        await until(lambda: world.daemon.log.progress(RUN_ID) is None, "it is over")
        world.executor.knows_it = False
        world.wire.cut()
        await world.ended()


async def test_a_refused_launch_fails_with_the_executors_words(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING")
    world.wire.refusal = InvalidInput(
        "cannot run here",
        reason="x",
        hint="what there is: pollinator executors show NAME",
        violations=[Violation("conditions.mem", "too much")],
    )
    async with world.driving():
        run = await world.ended()

    assert OutcomeReason.OUTCOME_REASON_LAUNCH == run.outcome.reason
    assert (
        "cannot run here\n  conditions.mem: too much\nwhat there is: pollinator executors show lumi"
        == run.outcome.detail
    )


async def test_what_an_executor_says_of_an_end_has_the_name_that_it_has_here(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING")
    world.executor.record(moved("LAUNCHING"))
    end = moved("FAILED", "LAUNCH")
    end.state_changed.outcome.detail = "sbatch refuses: x\nsee pollinator executors show NAME"
    world.executor.record(end)
    async with world.driving():
        run = await world.ended()

    assert "sbatch refuses: x\nsee pollinator executors show lumi" == run.outcome.detail


@pytest.mark.parametrize("known", [True, False])
async def test_a_run_that_its_executor_has_goes_on_though_it_could_not_be_launched_again(
    world: World, known: bool
) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING")
    world.executor.knows_it = known
    world.executor.end()
    world.restart()
    (world.folder / "stores" / STORE_ID).unlink()
    async with world.driving():
        run = await world.ended()

    assert (RunState.RUN_STATE_SUCCEEDED if known else RunState.RUN_STATE_FAILED) == run.state
    assert known or "not known any more" in run.outcome.detail


async def test_an_executor_that_is_down_is_waited_for_and_that_is_noted_once(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING")
    world.daemon.secrets.keep(RUN_ID, [Secret(name="T", value="v")])
    world.wire.up = False
    async with world.driving():
        await until(lambda: world.wire.starts > 3, "it was tried")
        unreachable = world.run.HasField("unreachable_since")
        world.wire.up = True
        world.executor.end()

        run = await world.ended()

    assert unreachable
    assert RunState.RUN_STATE_SUCCEEDED == run.state
    assert not run.HasField("unreachable_since")
    assert 2 == world.notes().count("reachability")
    assert ["v"] == [secret.value for secret in world.executor.started[-1].secrets]
    assert [] == world.daemon.secrets.read(RUN_ID)


@pytest.mark.parametrize(("called", "told"), [("ada", "ada"), ("ad\udcff", "ad?")])
async def test_an_executor_is_told_whose_run_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch, called: str, told: str
) -> None:
    monkeypatch.setenv("LOGNAME", called)
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING")
    async with world.driving():
        await until(lambda: bool(world.executor.started), "it is launched")
        world.executor.end()
        await world.ended()

    assert told == world.executor.started[0].snapshot.user


async def test_what_grpc_says_of_a_cut_is_not_told_to_users(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING", "RUNNING")
    async with world.driving():
        await until(lambda: world.wire.watched > 0, "it is followed")
        world.wire.cut()
        await until(lambda: world.wire.watched > 1, "it is followed again")
        world.executor.end()
        await world.ended()

    noted = world.daemon.log.events(RUN_ID, 0)
    told = [each.reachability for each in noted if each.HasField("reachability")]
    assert [True, False] == [each.HasField("unreachable_since") for each in told]
    assert {""} == {each.detail for each in told}


async def test_a_run_cancelled_before_its_executor_was_ever_up_ends_at_once(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING")
    world.wire.up = False
    async with world.driving():
        await until(lambda: world.wire.starts > 0, "it was tried")
        world.wish_to_cancel()

        run = await world.ended()

    assert RunState.RUN_STATE_CANCELLED == run.state
    assert [] == world.executor.started


@pytest.mark.parametrize("known", [True, False])
async def test_a_wish_to_cancel_found_after_a_restart_is_settled_with_the_executor(
    world: World, known: bool
) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING")
    world.wish_to_cancel()
    world.executor.knows_it = known
    world.executor.end("CANCELLED" if known else "SUCCEEDED")
    world.restart()
    async with world.driving():
        run = await world.ended()

    assert RunState.RUN_STATE_CANCELLED == run.state
    assert known == bool(world.executor.cancelled)


async def test_a_cancel_is_passed_on_again_and_again_until_the_executor_has_it(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING", "RUNNING")
    world.wire.up = False
    async with world.driving():
        world.wish_to_cancel()
        await until(lambda: world.wire.starts > 1, "it was tried")
        world.wire.up = True
        await until(lambda: bool(world.executor.cancelled), "the executor has it")
        world.executor.end("CANCELLED")

        run = await world.ended()

    assert RunState.RUN_STATE_CANCELLED == run.state


async def test_what_happened_before_a_cancel_decides_the_end(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING", "RUNNING")
    async with world.driving():
        world.wish_to_cancel()
        await until(lambda: bool(world.executor.cancelled), "the executor has it")
        world.executor.end("FAILED", reason="EXIT_CODE", exit_code=3)

        run = await world.ended()

    assert (RunState.RUN_STATE_FAILED, 3, True) == (run.state, run.outcome.exit_code, run.cancel_requested)


async def test_a_full_disk_here_fails_no_run_and_loses_no_output(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING", "RUNNING")
    text = b"0123456789abcdef" * 20_000
    async with world.driving():
        with full_disk(200_000):
            world.executor.print(0, text)
            await until(lambda: world.wire.watched > 2, "it was tried again")
            during = world.run
        world.executor.end()

        run = await world.ended()

    assert RunState.RUN_STATE_RUNNING == during.state
    assert not during.HasField("unreachable_since")
    assert RunState.RUN_STATE_SUCCEEDED == run.state
    assert text == world.daemon.output.read(RUN_ID, 0, 0, 1 << 20)


async def test_a_disk_without_any_room_fails_no_run_either(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING", "RUNNING")
    async with world.driving():
        with full_disk(0):
            world.executor.record(RunEvent(notice=Notice(code="n")))
            world.executor.print(0, b"line\n")
            await until(lambda: world.wire.watched > 2, "it was tried again")
        world.executor.end()

        run = await world.ended()

    assert RunState.RUN_STATE_SUCCEEDED == run.state
    assert ["n"] == [notice.code for notice in run.notices]
    assert b"line\n" == world.daemon.output.read(RUN_ID, 0, 0, 100)


async def test_a_defect_of_the_executor_is_an_observation_and_no_end(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING", "RUNNING")
    world.executor.defect = Internal("internal error 1234", reason="internal")
    world.executor.print(0, b"line\n")
    async with world.driving():
        # While it is asked again, it is reached until the defect shows.
        again = "it was tried again in vain"
        await until(lambda: world.wire.watched > 2 and world.run.HasField("unreachable_since"), again)
        during = world.run
        world.executor.defect = None
        world.executor.end()

        run = await world.ended()

    assert RunState.RUN_STATE_RUNNING == during.state
    assert (RunState.RUN_STATE_SUCCEEDED, b"line\n") == (run.state, world.daemon.output.read(RUN_ID, 0, 0, 9))


async def test_output_that_only_this_side_still_has_is_kept(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING", "RUNNING")
    world.daemon.output.append(RUN_ID, 0, 0, b"before the power cut\n")
    world.executor.print(0, b"before\n")
    world.executor.end("FAILED", reason="NODE_FAILED")
    async with world.driving():
        run = await world.ended()

    assert OutcomeReason.OUTCOME_REASON_NODE_FAILED == run.outcome.reason
    assert b"before the power cut\n" == world.daemon.output.read(RUN_ID, 0, 0, 100)


@pytest.mark.parametrize("trouble", [Unavailable("asleep", reason="store_unavailable"), ValueError("x")])
async def test_results_wait_out_a_silent_store_and_a_defect(world: World, trouble: Exception) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING", "RUNNING")
    world.home.troubles += [trouble] * 3
    world.executor.record(RunEvent(collected=SnapshotRef(digest=b"r", key="result")))
    world.executor.end()
    async with world.driving():
        run = await world.ended()

    assert RunState.RUN_STATE_SUCCEEDED == run.state
    assert ["result"] == world.home.brought


async def test_results_that_cannot_be_written_are_a_failure_that_keeps_the_exit_code(world: World) -> None:
    world.daemon.accept("SNAPSHOTTING", "LAUNCHING", "RUNNING")
    world.home.troubles.append(Exhausted("no space", reason="disk_full", hint="free some"))
    world.executor.end("FAILED", reason="EXIT_CODE", exit_code=3)
    async with world.driving():
        run = await world.ended()

    assert OutcomeReason.OUTCOME_REASON_COLLECT == run.outcome.reason
    assert (3, "no space\nfree some") == (run.outcome.exit_code, run.outcome.detail)


@dataclass
class Project:
    """A project whose seal does what a test says."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    closed: int = 0
    """So many seals find that the project was closed."""
    opened_for: list[str] = field(default_factory=list[str])

    @property
    def worker(self) -> Project:
        return self

    async def open_for(self, run: Run) -> Project:
        self.opened_for.append(run.store_id)
        return self

    async def seal(self, spec: RunSpec, *, strict: bool, git_commit: str) -> Sealed:
        if self.closed:
            self.closed -= 1
            raise Unavailable("closed", reason="project_closed")
        await self.gate.wait()
        notice = Notice(code="open_for_writing")
        return Sealed(SnapshotRef(digest=b"d", key="s/ab/abc"), Snapshot(), SyncReport(), (notice,))


@pytest.fixture
def project(world: World) -> Project:
    world.projects = Project()
    world.restart()
    return world.projects


@pytest.mark.parametrize("states", [(), ("SNAPSHOTTING",)])
async def test_a_cancel_ends_a_run_that_is_being_sealed_at_once(
    world: World, project: Project, states: tuple[str, ...]
) -> None:
    world.daemon.accept(*states)
    async with world.driving() as task:
        await until(lambda: bool(project.opened_for), "it is being sealed")
        world.wish_to_cancel()

        during = await world.ended()
        project.gate.set()
        await asyncio.wait([task], timeout=20)

    assert task.done()
    assert RunState.RUN_STATE_CANCELLED == during.state
    assert during == world.run
    assert [] == world.executor.started


async def test_a_project_that_was_closed_meanwhile_is_opened_again_with_the_store_of_the_run(
    world: World, project: Project
) -> None:
    project.closed = 2
    project.gate.set()
    world.executor.end()
    world.daemon.accept()
    async with world.driving():
        run = await world.ended()

    assert RunState.RUN_STATE_SUCCEEDED == run.state
    assert ["store"] * 3 == project.opened_for
    assert ["open_for_writing"] == [notice.code for notice in run.notices]
    assert "s/ab/abc" == world.executor.started[0].snapshot.snapshot.key


async def test_what_is_recorded_is_what_a_replay_leads_to(world: World, project: Project) -> None:
    project.gate.set()
    for event in (moved("LAUNCHING"), moved("QUEUED"), moved("STARTING"), moved("RUNNING")):
        world.executor.record(event)
    world.executor.end()
    world.daemon.accept()
    async with world.driving():
        run = await world.ended()

    events = world.daemon.log.events(RUN_ID, 0)
    assert run == fold(events)
    assert [RUN_ID] == world.executor.forgotten
    assert list(range(1, len(events) + 1)) == [event.seq for event in events]
