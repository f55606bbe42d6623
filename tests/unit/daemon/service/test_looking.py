"""ListFiles, ReadFile and ListProblems through a real socket, of runs that were really sealed."""

from __future__ import annotations

import os
import random
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from pollinator.chunks.capture import capture
from pollinator.daemon.service import looking as under_test
from pollinator.daemon.sync.projects import read_spec
from pollinator.v1.project_pb2 import (
    ListFilesRequest,
    ListFilesResponse,
    ListProblemsRequest,
    Problem,
    ReadFileRequest,
    ReadFileResponse,
    RunFile,
)
from pollinator.v1.project_pb2_grpc import ProjectServiceStub
from pollinator.v1.run_pb2 import Run, Severity, StartRunRequest
from pollinator.wire.errors import PollinatorError
from pollinator.wire.status import to_error
from support.opening import Place, Watcher
from support.scripted_executor import moved

LARGE = random.Random(7).randbytes(9_000_001)


class Desk:
    """A daemon with a project, and a client."""

    def __init__(self, place: Place, daemon: Watcher, stub: ProjectServiceStub) -> None:
        self.place = place
        self.stub = stub
        self._daemon = daemon

    async def run(self, name: str, left: Path | None = None) -> None:
        """A run that ran with what is on disk now, and left something."""
        project = await self._daemon.projects.open(self.place.root, self.place.store("s"))
        spec = read_spec(self.place.root)
        sealed = await project.worker.seal(spec, strict=False, git_commit="")
        run = self.place.run_of(project.store_id)
        run.id = run.request_id = name
        run.snapshot.CopyFrom(sealed.ref)
        if left is not None:
            store = self._daemon.keeper.reopen(project.store_id, "p")
            run.result.CopyFrom(capture(left, store).ref)
            store.close()
        self._daemon.log.accept(run, StartRunRequest())

    def accept(self, name: str, *states: str, reason: str = "EXIT_CODE", rank: int = 0) -> None:
        """A run of this project, in this state."""
        run = Run(id=name, request_id=name, root=str(self.place.root), attempt=1)
        run.accept_time.GetCurrentTime()
        self._daemon.log.accept(run, StartRunRequest())
        for state in states:
            event = moved(state, reason if state == "FAILED" else "")
            if state == "FAILED":
                event.state_changed.outcome.rank = rank
            self._daemon.log.append(name, event)

    def print(self, name: str, rank: int, text: bytes) -> None:
        """A rank of a run prints."""
        log = self._daemon.log
        self._daemon.output.append(name, rank, log.output_size(name, rank), text)

    async def files(self, tree: str, run_id: str = "a", size: int = 0, token: str = "") -> ListFilesResponse:
        request = ListFilesRequest(run_id=run_id, tree=tree, page_size=size, page_token=token)
        return await self.stub.ListFiles(request, wait_for_ready=True)

    async def read(self, path: bytes, run_id: str = "a") -> bytes:
        pieces = [each.data async for each in self._read(path, run_id)]

        assert all(0 < len(piece) <= 64 * 1024 for piece in pieces)
        return b"".join(pieces)

    def _read(self, path: bytes, run_id: str) -> AsyncIterable[ReadFileResponse]:
        return self.stub.ReadFile(ReadFileRequest(run_id=run_id, path=path), wait_for_ready=True)

    async def problems(self, run_id: str = "latest") -> Sequence[Problem]:
        request = ListProblemsRequest(run_id=run_id, root=str(self.place.root))
        return (await self.stub.ListProblems(request, wait_for_ready=True)).problems


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    place = Place(tmp_path)
    src = place.root / "cfs/src"
    (src / "main.py").write_text("print('hello')\n")
    (src / "lib").mkdir()
    (src / "lib/x.py").write_text("x = 1\n")
    (src / "lib.py").touch()
    (src / "link").symlink_to("main.py")
    (src / os.fsdecode(b"\xff.bin")).write_bytes(b"\0\xff")
    (place.root / "cfs/data/large").write_bytes(LARGE)
    with (place.root / "cfs/data/holes").open("wb") as file:
        file.seek(3_000_000)
        file.write(b"end")
        file.truncate(5_000_000)
    async with place.daemon() as daemon, daemon.served() as stub:
        yield Desk(place, daemon, stub)


@asynccontextmanager
async def refused(reason: str) -> AsyncGenerator[None]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield
    error: PollinatorError = to_error(caught.value)

    assert reason == error.reason


# Files


async def test_a_tree_is_listed_as_it_was_when_the_run_was_sealed(desk: Desk) -> None:
    await desk.run("a")
    (desk.place.root / "cfs/src/later").touch()

    assert [
        RunFile(path=b"src/lib", directory=True),
        RunFile(path=b"src/lib/x.py", size=6),
        RunFile(path=b"src/lib.py"),
        RunFile(path=b"src/link", target=b"main.py"),
        RunFile(path=b"src/main.py", size=15),
        RunFile(path=b"src/\xff.bin", size=2),
    ] == list((await desk.files("src")).files)
    assert [b"data/holes", b"data/large"] == [each.path for each in (await desk.files("data")).files]


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7])
async def test_pages_lead_through_all_of_it(desk: Desk, size: int) -> None:
    await desk.run("a")
    every = list((await desk.files("src")).files)
    found: list[RunFile] = []
    pages, token = 0, ""
    while pages == 0 or token:
        answer = await desk.files("src", size=size, token=token)
        found += answer.files
        pages, token = pages + 1, answer.next_page_token

    assert every == found
    assert -(-6 // size) == pages


async def test_long_paths_make_a_page_short(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "PAGE_BYTES", 4)
    await desk.run("a")
    answer = await desk.files("src")

    assert 2 == len(answer.files)
    assert answer.next_page_token


async def test_results_are_listed_and_read(desk: Desk, tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    (left / "plot.png").write_bytes(b"png")
    await desk.run("a", left)

    assert [RunFile(path=b"result/plot.png", size=3)] == list((await desk.files("result")).files)
    assert b"png" == await desk.read(b"result/plot.png")


async def test_every_file_is_read_as_it_was(desk: Desk) -> None:
    await desk.run("a")
    (desk.place.root / "cfs/src/main.py").write_text("later\n")

    assert b"print('hello')\n" == await desk.read(b"src/main.py")
    assert b"x = 1\n" == await desk.read(b"src/lib/x.py")
    assert b"" == await desk.read(b"src/lib.py")
    assert b"\0\xff" == await desk.read(b"src/\xff.bin")
    assert LARGE == await desk.read(b"data/large")
    assert bytes(3_000_000) + b"end" + bytes(1_999_997) == await desk.read(b"data/holes")


async def test_who_leaves_in_the_middle_of_a_file_leaves_nothing_behind(desk: Desk) -> None:
    await desk.run("a")
    for _ in range(3):
        call = desk.stub.ReadFile(ReadFileRequest(run_id="a", path=b"data/large"))
        async for _piece in call:
            break
        call.cancel()

    assert b"x = 1\n" == await desk.read(b"src/lib/x.py")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (b"src/none", "file_missing"),
        (b"src/main.py/x", "file_missing"),
        (b"src/lib/../main.py", "file_missing"),
        (b"src//main.py", "file_missing"),
        (b"src", "file_missing"),
        (b"src/lib", "not_a_file"),
        (b"src/link", "not_a_file"),
        (b"main.py", "tree_unknown"),
        (b"", "tree_unknown"),
        (b"\xff/x", "tree_unknown"),
        (b"result/x", "no_results"),
    ],
)
async def test_what_is_no_file_of_the_run_cannot_be_read(desk: Desk, path: bytes, reason: str) -> None:
    await desk.run("a")
    async with refused(reason):
        await desk.read(path)


async def test_a_run_without_the_tree_says_so(desk: Desk) -> None:
    desk.accept("b")
    await desk.run("a")
    async with refused("not_sealed"):
        await desk.files("src", "b")
    async with refused("no_results"):
        await desk.files("result", "b")
    async with refused("tree_unknown"):
        await desk.files("etc")
    async with refused("run_missing"):
        await desk.files("src", "c")
    for token in ("x", "-1", "\u0663", "9" * 30):
        async with refused("bad_page_token"):
            await desk.files("src", token=token)


# Problems

FAILED = ("RUNNING", "COLLECTING", "FAILED")
TRACEBACK = (
    b"Traceback (most recent call last):\n"
    b'  File "/home/me/executors/local/runs/b/work/src/main.py", line 1, in <module>\n'
    b"    f()\n"
    b'  File "/home/me/executors/local/runs/b/work/src/lib/x.py", line 3, in f\n'
    b"    g()\n"
    b'  File "/usr/lib/python3.11/json/__init__.py", line 9, in g\n'
    b"    raise\n"
    b"ValueError: no\n"
)


async def test_a_failed_run_names_places_in_the_sources(desk: Desk) -> None:
    desk.accept("b", "SNAPSHOTTING", "LAUNCHING", *FAILED)
    desk.print("b", 0, b"hello\n" + TRACEBACK)
    found = await desk.problems()

    assert [
        Problem(path="cfs/src/lib/x.py", line=3, code="ValueError", message="ValueError: no"),
        Problem(
            path="cfs/src/main.py",
            line=1,
            code="ValueError",
            message="led to ValueError: no",
            severity=Severity.SEVERITY_INFO,
        ),
    ] == list(found)


@pytest.mark.parametrize("end", ["SUCCEEDED", "CANCELLED", "LOST", "COLLECTING"])
async def test_one_that_has_not_failed_names_none(desk: Desk, end: str) -> None:
    desk.accept(
        "b", "SNAPSHOTTING", "LAUNCHING", "RUNNING", "COLLECTING", *([end] if end != "COLLECTING" else [])
    )
    desk.print("b", 0, TRACEBACK)

    assert not await desk.problems()


async def test_the_rank_that_decided_comes_first_and_what_all_say_is_said_once(desk: Desk) -> None:
    desk.accept("b", "SNAPSHOTTING", "LAUNCHING", *FAILED, rank=2)
    for rank in range(3):
        desk.print("b", rank, TRACEBACK)
    desk.print("b", 1, b"main.py:1: FutureWarning: soon\n")
    found = await desk.problems("b")

    assert [2, 2, 1] == [each.rank for each in found]
    assert Severity.SEVERITY_WARNING == found[2].severity


async def test_of_much_output_the_end_is_looked_at(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "OUTPUT_BYTES", 40)
    monkeypatch.setattr(under_test, "RANKS", 2)
    desk.accept("b", "SNAPSHOTTING", "LAUNCHING", *FAILED)
    desk.print("b", 0, b"main.py:1: FutureWarning: early\n" * 9 + b"main.py:2: FutureWarning: late\n")
    for rank in (1, 2):
        desk.print("b", rank, b"main.py:%d: FutureWarning: rank\n" % (rank + 2))

    assert [2, 3] == [each.line for each in await desk.problems("b")]


async def test_there_are_never_too_many(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "PROBLEMS", 5)
    desk.accept("b", "SNAPSHOTTING", "LAUNCHING", *FAILED)
    desk.print("b", 0, b"".join(b"main.py:%d: FutureWarning: x\n" % line for line in range(1, 99)))

    assert [1, 2, 3, 4, 5] == [each.line for each in await desk.problems("b")]
