"""The log of runs: numbers without gaps, a row that equals its replay, one transaction for both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.output import OutputFiles
from pollinator.model.ids import run_id, time_of
from pollinator.model.run import InvalidMove, fold
from pollinator.v1.run_pb2 import (
    CancelRequested,
    ListRunsRequest,
    Notice,
    Run,
    RunEvent,
    RunState,
    StartRunRequest,
)
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Exhausted, InvalidInput, NotFound
from support.disk import full_disk
from support.scripted_executor import Ticks, moved, open_records


class Books:
    """A log on disk that can be opened again, as after a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Ticks()
        self.records = open_records(folder)
        self.log = self._log()

    def _log(self) -> RunLog:
        return RunLog(self.records, OutputFiles(self.folder / "output"), self.clock)

    def reopen(self) -> RunLog:
        self.records.close()
        self.records = open_records(self.folder)
        self.log = self._log()
        return self.log

    def accept(self, name: str, *events: RunEvent, root: str = "/a", second: int = 1) -> Run:
        run = Run(id=name, request_id=f"request of {name}", root=root, project="p", attempt=1)
        run.accept_time.FromSeconds(second)
        return self.log.accept(run, StartRunRequest(request_id=run.request_id), *events)

    def lines(self, name: str) -> list[RunEvent]:
        return list(self.log.events(name, 0))


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    books = Books(tmp_path)
    yield books
    books.records.close()


def to_the_end(books: Books, name: str) -> Run:
    for state in ("SNAPSHOTTING", "LAUNCHING", "RUNNING", "COLLECTING"):
        books.log.append(name, moved(state))
    return books.log.append(name, moved("FAILED", reason="EXIT_CODE", exit_code=3))


def test_events_are_numbered_without_gaps_and_stamped_by_the_logs_clock(books: Books) -> None:
    books.accept("a", RunEvent(notice=Notice(code="n")))
    books.log.append("a", moved("SNAPSHOTTING"), RunEvent(sealed=SnapshotRef(key="k")))

    lines = books.lines("a")

    assert [1, 2, 3, 4] == [line.seq for line in lines]
    assert [1, 2, 3, 4] == [line.time.seconds - 1_000_000 for line in lines]


def test_the_row_is_what_the_replay_of_its_events_leads_to_also_after_a_restart(books: Books) -> None:
    books.accept("a")
    ended = to_the_end(books, "a")

    books.reopen()

    assert ended == books.log.get("a")
    assert ended == fold(books.lines("a"))
    assert (RunState.RUN_STATE_FAILED, 3, 6) == (ended.state, ended.outcome.exit_code, ended.last_seq)


def test_an_invalid_move_writes_nothing_of_what_came_with_it(books: Books) -> None:
    books.accept("a")

    with pytest.raises(InvalidMove):
        books.log.append("a", RunEvent(notice=Notice(code="n")), moved("SUCCEEDED"), executor_seq=9)

    assert [1] == [line.seq for line in books.lines("a")]
    assert 0 == books.log.executor_seq("a")
    assert 1 == books.log.get("a").last_seq


def test_how_far_the_executor_was_copied_is_written_with_what_was_copied(books: Books) -> None:
    books.accept("a")
    books.log.append("a", RunEvent(notice=Notice(code="n")), executor_seq=4)
    books.log.append("a", executor_seq=5)
    books.log.append("a", RunEvent(notice=Notice(code="m")))

    books.reopen()

    assert 5 == books.log.executor_seq("a")
    assert [1, 2, 3] == [line.seq for line in books.lines("a")]


def test_a_full_disk_is_an_error_that_says_so_and_loses_nothing_else(books: Books) -> None:
    books.accept("a")

    with full_disk(0), pytest.raises(Exhausted) as caught:
        books.log.append("a", moved("SNAPSHOTTING"))

    assert "disk_full" == caught.value.reason
    assert RunState.RUN_STATE_ACCEPTED == books.log.get("a").state
    assert RunState.RUN_STATE_SNAPSHOTTING == books.log.append("a", moved("SNAPSHOTTING")).state
    assert fold(books.lines("a")) == books.reopen().get("a")


def test_an_event_of_a_later_version_changes_nothing_but_the_number(books: Books) -> None:
    books.accept("a")
    later = RunEvent.FromString(b"\x08\x02" + b"\xf2\x06\x03abc")  # seq 2, and a field 110 that nobody knows
    row = books.log.get("a")
    row.last_seq = 2
    with books.records.change() as database:
        database.execute("INSERT INTO event VALUES ('a', 2, ?)", (later.SerializeToString(),))
        database.execute("UPDATE run SET body = ? WHERE id = 'a'", (row.SerializeToString(),))

    run = books.reopen().append("a", moved("SNAPSHOTTING"))

    assert [1, 2, 3] == [line.seq for line in books.lines("a")]
    assert run == fold(books.lines("a"))
    assert b"abc" in books.lines("a")[1].SerializeToString()


def test_only_runs_that_have_not_ended_are_active_also_after_a_restart(books: Books) -> None:
    for name in ("c", "a", "b"):
        books.accept(name)
    to_the_end(books, "b")

    before = [run.id for run in books.log.active()]
    after = [run.id for run in books.reopen().active()]

    assert (["a", "c"], ["a", "c"]) == (before, after)


def test_a_request_id_leads_to_its_run_and_can_be_used_once(books: Books) -> None:
    books.accept("a")

    assert "a" == (books.log.by_request("request of a") or Run()).id
    assert books.log.by_request("another") is None
    with pytest.raises(Exception, match="UNIQUE"):
        books.log.accept(Run(id="b", request_id="request of a"), StartRunRequest())
    assert books.log.by_id("b") is None
    assert "request of a" == books.log.request_of("a").request_id


def test_a_run_is_found_by_its_id_a_unique_prefix_in_any_case_and_as_the_latest(books: Books) -> None:
    for name in ("01aa", "01ab", "01abc"):
        books.accept(name, root=f"/{name}")

    found = [books.log.find(name).id for name in ("01aa", "01AA", "01ab", "01abc", "latest")]

    assert ["01aa", "01aa", "01ab", "01abc", "01abc"] == found
    assert "01aa" == books.log.find("latest", "/01aa").id


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("01", InvalidInput, "run_ambiguous"),
        ("02", NotFound, "run_missing"),
        ("", NotFound, "run_missing"),
        ("é", NotFound, "run_missing"),
    ],
)
def test_a_name_that_fits_none_or_several_runs_says_so(
    books: Books, name: str, kind: type[Exception], reason: str
) -> None:
    books.accept("01aa")
    books.accept("01ab")

    with pytest.raises(kind) as caught:
        books.log.find(name)

    assert reason == getattr(caught.value, "reason", "")


def test_the_latest_of_no_run_says_that_there_is_none(books: Books) -> None:
    with pytest.raises(NotFound, match="no run yet"):
        books.log.find("latest")


def test_filters_of_a_list_hold_together(books: Books) -> None:
    for second, name in enumerate(("a1", "a2", "b1", "b2"), 1):
        books.accept(name, root=f"/{name[0]}", second=second)
    to_the_end(books, "a1")
    since = ListRunsRequest(root="/b")
    since.since.FromSeconds(4)

    def chosen(request: ListRunsRequest) -> list[str]:
        return [run.id for run in books.log.select(request)]

    assert ["b2", "b1", "a2", "a1"] == chosen(ListRunsRequest())
    assert ["a2"] == chosen(ListRunsRequest(root="/a", active=True))
    assert ["b2"] == chosen(since)
    assert ["b2", "b1"] == chosen(ListRunsRequest(id_prefix="b"))
    assert ["b1"] == chosen(ListRunsRequest(id_prefix="b", page_token="b2"))
    assert ["a2"] == chosen(ListRunsRequest(page_token="b1", page_size=1))
    assert [] == chosen(ListRunsRequest(id_prefix="a", page_token="0"))


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_show_each_run_once_whatever_their_size(books: Books, size: int) -> None:
    names = [run_id(1_000, bytes([number] * 10)) for number in range(7)]
    for name in names:
        books.accept(name)

    seen: list[str] = []
    token = ""
    while page := books.log.select(ListRunsRequest(page_size=size, page_token=token)):
        seen += [run.id for run in page]
        token = page[-1].id

    assert sorted(names, reverse=True) == seen


def test_ids_grow_with_every_run_also_when_the_clock_goes_back(books: Books) -> None:
    made: list[str] = []
    for step_s in (0, 5, -3600, -3600, 0, 7200):
        books.clock.now_ns += step_s * 1_000_000_000
        made.append(books.log.new_id())
        books.accept(made[-1])
        books.reopen()

    assert sorted(set(made)) == made
    assert made[-1] == books.log.find("latest").id


def test_an_id_that_somebody_else_made_does_not_move_ours(books: Books) -> None:
    books.accept("z" * 26, root="")

    made = books.reopen().new_id()

    assert books.clock.now_ns // 1_000_000 == time_of(made)


async def test_whoever_waits_for_a_run_wakes_with_its_news_and_only_with_these(books: Books) -> None:
    books.accept("a")
    books.accept("b")
    seen = {name: books.log.version(name) for name in "ab"}

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(books.log.changed("a", seen["a"], 60))
        other = group.create_task(books.log.changed("b", seen["b"], 60))
        await asyncio.sleep(0)
        books.log.append("a", RunEvent(cancel_requested=CancelRequested()))
        await waiting

        assert not other.done()
        other.cancel()
    await books.log.changed("a", seen["a"], 60)


async def test_waiting_ends_with_its_time(books: Books) -> None:
    books.accept("a")

    await books.log.changed("a", books.log.version("a"), 0.01)


def test_events_before_a_number_are_not_read_again(books: Books) -> None:
    books.accept("a")
    to_the_end(books, "a")

    assert [5, 6] == [line.seq for line in books.log.events("a", 4)]
    assert [] == list(books.log.events("a", 6))
    assert books.log.output_complete("a")
