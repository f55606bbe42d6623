"""Whatever breaks between an executor and its daemon, the daemon's log and output end as if nothing had."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pollinator.daemon.pool import Pool
from pollinator.daemon.runs import driver
from pollinator.daemon.runs.crew import Crew
from pollinator.daemon.runs.plan import ended, relayed
from pollinator.model.run import apply, fold, is_terminal
from pollinator.v1.run_pb2 import (
    NodesAssigned,
    Notice,
    PendingReason,
    Run,
    RunEvent,
    RunState,
    Usage,
)
from pollinator.v1.tree_pb2 import SnapshotRef
from support.scripted_executor import RUN_ID, Daemon, Home, ScriptedExecutor, Wire, moved, until

Printed = tuple[int, bytes]
Act = RunEvent | Printed

blocks = st.tuples(st.integers(0, 2), st.binary(min_size=1, max_size=40) | st.just(b"x" * 100_000))
words = st.sampled_from(
    [
        RunEvent(usage=Usage(peak_memory_bytes=5)),
        RunEvent(notice=Notice(code="n", text="t")),
        RunEvent(nodes_assigned=NodesAssigned(nodes=["a", "b"])),
    ]
)
begun = st.lists(
    st.sampled_from([RunEvent(pending=PendingReason(code="cpu")), RunEvent(notice=Notice(code="q"))]),
    max_size=2,
)
running = st.lists(blocks | words, max_size=8)


@st.composite
def lives(draw: st.DrawFn) -> list[Act]:
    """Everything an executor says about one run, in order."""
    life: list[Act] = [moved("LAUNCHING"), moved("QUEUED"), *draw(begun), moved("RUNNING"), *draw(running)]
    if draw(st.booleans()):
        life += [moved("QUEUED"), moved("STARTING"), moved("RUNNING"), *draw(running)]
    life += [moved("COLLECTING", exit_code=3), *draw(running)]
    if draw(st.booleans()):
        life.append(RunEvent(collected=SnapshotRef(digest=b"r", key="result")))
    end = draw(st.sampled_from(["FAILED", "SUCCEEDED", "CANCELLED"]))
    life.append(moved(end, reason="EXIT_CODE", exit_code=3))
    return life


troubles = st.lists(
    st.one_of(
        st.tuples(st.just("say"), st.integers(1, 12)),
        st.tuples(st.just("settle"), st.just(0)),
        st.tuples(st.just("pause"), st.integers(1, 20)),
        st.tuples(st.just("cut"), st.just(0)),
        st.tuples(st.just("repeat"), st.integers(1, 30)),
        st.tuples(st.just("kill"), st.just(0)),
        st.tuples(st.just("down"), st.integers(1, 5)),
    ),
    max_size=14,
)


class Stage:
    """One life of a run, played to a daemon."""

    def __init__(self, folder: Path, life: Sequence[Act]) -> None:
        self.folder = folder
        self.executor = ScriptedExecutor(Run(id=RUN_ID))
        self.wire = Wire(self.executor)
        self.home = Home(Pool("test", 1))
        self._left = list(life)
        self.daemon = Daemon(folder, self.wire, self.home)
        self.daemon.accept("SNAPSHOTTING", "LAUNCHING")

    async def play(self, acts: Sequence[tuple[str, int]]) -> None:
        """Play the life with these troubles, and then to its end."""
        async with asyncio.TaskGroup() as group:
            crew = self._drive(group)
            for act, number in [*acts, ("say", len(self._left))]:
                match act:
                    case "say":
                        self._say(number)
                    case "settle":
                        await until(self._settled, "all is copied")
                    case "cut":
                        self.wire.cut()
                    case "repeat":
                        await until(self._settled, "all is copied")
                        self.wire.repeats = number
                        self.wire.cut()
                    case "kill":
                        await crew.stop()
                        self.daemon.close()
                        self.daemon = Daemon(self.folder, self.wire, self.home)
                        crew = self._drive(group)
                    case "down":
                        self.wire.up = False
                        self.wire.cut()
                    case _:
                        pass
                for _ in range(number):
                    await asyncio.sleep(0)
                self.wire.up = True
            await until(lambda: is_terminal(self.daemon.log.get(RUN_ID).state), "the run has ended")
            await crew.stop()

    def close(self) -> None:
        """Let go of the files and threads."""
        self.daemon.close()
        self.home.pool.close()

    def _drive(self, group: asyncio.TaskGroup) -> Crew:
        crew = self.daemon.crew(group)
        crew.reconcile()
        return crew

    def _settled(self) -> bool:
        """Everything said so far is copied, but for the last word, which is only believed at the end."""
        said = [event.seq for event in self.executor.log if ended(event) is None]
        return self.daemon.log.executor_seq(RUN_ID) >= said[-1] and all(
            self.daemon.output.size(RUN_ID, rank) == len(data) for rank, data in self.executor.printed.items()
        )

    def _say(self, number: int) -> None:
        for _ in range(min(number, len(self._left))):
            act = self._left.pop(0)
            if isinstance(act, RunEvent):
                word = RunEvent()
                word.CopyFrom(act)
                self.executor.record(word)
            else:
                self.executor.print(*act)


def told(events: Sequence[RunEvent]) -> list[RunEvent]:
    """Events without numbers and times, and without what was observed of the wire."""
    kept: list[RunEvent] = []
    for event in events:
        if event.WhichOneof("kind") != "reachability":
            bare = RunEvent()
            bare.CopyFrom(event)
            bare.ClearField("seq")
            bare.ClearField("time")
            kept.append(bare)
    return kept


def expected_after(run: Run, life: Sequence[Act]) -> list[RunEvent]:
    """What an undisturbed daemon records of a life."""
    events: list[RunEvent] = []
    for word in life:
        if isinstance(word, RunEvent) and ended(word) is None:
            event = relayed(run, word)
            if event is not None:
                run = apply(run, event)
                events.append(event)
    end = life[-1]
    assert isinstance(end, RunEvent)
    move = RunEvent(state_changed=end.state_changed)
    move.state_changed.attempt = run.attempt
    return [*events, move]


@settings(max_examples=100, deadline=None)
@given(life=lives(), acts=troubles)
async def test_no_trouble_leaves_a_gap_or_a_repeat(life: list[Act], acts: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "RETRY_S", 0.01)
        stage = Stage(Path(folder), life)
        begun = list(stage.daemon.log.events(RUN_ID, 0))
        await stage.play(acts)

        events = list(stage.daemon.log.events(RUN_ID, 0))
        run = stage.daemon.log.get(RUN_ID)
        printed = {rank: bytes(data) for rank, data in stage.executor.printed.items()}
        copied = {
            rank: stage.daemon.output.read(RUN_ID, rank, 0, 1 << 24)
            for rank in stage.daemon.output.ranks(RUN_ID)
        }
        stage.close()

    assert told(events[len(begun) :]) == expected_after(fold(begun), life)
    assert list(range(1, len(events) + 1)) == [event.seq for event in events]
    assert run == fold(events)
    assert RunState.RUN_STATE_RUNNING in [event.state_changed.state for event in events]
    assert printed == copied
