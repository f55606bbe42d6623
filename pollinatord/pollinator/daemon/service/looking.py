"""What a run ran with, what it left and what its output says is wrong: for editors, which show it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

from pollinator.chunks.nodes import shown
from pollinator.chunks.read import Node, SnapshotReader, check_size
from pollinator.daemon.pool import Pool
from pollinator.daemon.runs.home import ResultsHome
from pollinator.daemon.runs.log import RunLog
from pollinator.daemon.runs.problems import Place, Weight, find_places
from pollinator.daemon.runs.sources import Sources
from pollinator.v1.project_pb2 import (
    ListFilesRequest,
    ListFilesResponse,
    ListProblemsRequest,
    ListProblemsResponse,
    Problem,
    ReadFileRequest,
    ReadFileResponse,
    RunFile,
)
from pollinator.v1.run_pb2 import Run, RunState, Severity
from pollinator.v1.tree_pb2 import DirectoryNode, FileNode, SymlinkNode, Tree
from pollinator.wire.errors import InvalidInput, NotFound, WrongState

OUTPUT_BYTES = 1024 * 1024
"""Of what a rank printed so much is looked at, from the end."""

RANKS = 16
"""The output of so many ranks is looked at: that of a failed run is most often the same."""

ALL_BYTES = 4 * 1024 * 1024
"""So much is looked at in all: somebody waits for the answer."""

PROBLEMS = 100
PAGE = 1000
MAX_PAGE = 10_000
PAGE_BYTES = 1024 * 1024
"""A page ends when its paths have so many bytes, however few they are."""

BLOCK_BYTES = 64 * 1024
AHEAD = 8
"""So many chunks of a file are fetched at once."""

_SEVERITIES = {
    Weight.CRASH: Severity.SEVERITY_UNSPECIFIED,
    Weight.ERROR: Severity.SEVERITY_UNSPECIFIED,
    Weight.CALLER: Severity.SEVERITY_INFO,
    Weight.WARNING: Severity.SEVERITY_WARNING,
}


class RunLooking:
    """The bodies of those calls."""

    def __init__(self, log: RunLog, home: ResultsHome, pool: Pool) -> None:
        self._runs = log
        self._home = home
        self._pool = pool

    async def problems(self, request: ListProblemsRequest) -> ListProblemsResponse:
        """Places in the sources that the output of a failed run names.

        Raises:
            NotFound: there is no such run.
        """
        run = self._runs.find(request.run_id, request.root)
        answer = ListProblemsResponse(run_id=run.id)
        if run.state == RunState.RUN_STATE_FAILED and run.root:
            first = run.outcome.rank
            ranks = sorted(self._runs.ranks(run.id), key=lambda rank: (rank != first, rank))[:RANKS]
            sizes = {rank: self._runs.output_size(run.id, rank) for rank in ranks}
            answer.problems.extend(await self._pool.run(self._problems, run, sizes))
        return answer

    async def files(self, request: ListFilesRequest) -> ListFilesResponse:
        """A page of the entries of a tree, each directory before what it holds.

        Raises:
            NotFound: there is no such run, or its files are not kept any more.
            WrongState: it has no such tree yet.
            InvalidInput: the tree or the token is none.
        """
        run = self._runs.find(request.run_id)
        _check_tree(run, request.tree)
        token = request.page_token
        if token and not (token.isascii() and token.isdecimal() and len(token) < 19):
            raise InvalidInput(f"{token!r} was never given as a page token", reason="bad_page_token")
        size = min(request.page_size or PAGE, MAX_PAGE)
        return await self._home.pool.run(self._files, run, request.tree, int(token or 0), size)

    async def read(self, request: ReadFileRequest) -> AsyncIterator[ReadFileResponse]:
        """The content of a file, piece by piece.

        Raises:
            NotFound: there is no such run or file, or its files are not kept any more.
            WrongState: the run has no such tree yet.
            InvalidInput: the path leads to no regular file.
        """
        run = self._runs.find(request.run_id)
        _check_tree(run, _tree_of(request.path))
        thread = Pool("read", 1)
        pieces = self._pieces(run, request.path)
        try:
            while (piece := await thread.run(next, pieces, None)) is not None:
                yield ReadFileResponse(data=piece)
        finally:
            # A reader belongs to its thread, also when the client is gone in the middle of a file.
            await asyncio.shield(thread.run(pieces.close))
            thread.close()

    def _problems(self, run: Run, sizes: dict[int, int]) -> list[Problem]:
        sources = Sources(Path(run.root))
        found: dict[tuple[str, int, str], Problem] = {}
        left = ALL_BYTES
        for rank, size in sizes.items():
            wanted = min(size, OUTPUT_BYTES, left)
            left -= wanted
            text = self._end_of_output(run.id, rank, size - wanted, size)
            for place in find_places(text, sources.locate):
                # What all ranks say is said once, for the one that decided.
                found.setdefault((place.path, place.line, place.message), _problem(place, rank))
                if len(found) == PROBLEMS:
                    return list(found.values())
        return list(found.values())

    def _end_of_output(self, run_id: str, rank: int, start: int, size: int) -> str:
        text = self._runs.read_output(run_id, rank, start, size - start).decode(errors="replace")
        return text.partition("\n")[2] if start else text

    def _files(self, run: Run, name: str, skipped: int, size: int) -> ListFilesResponse:
        answer, weight, prefix = ListFilesResponse(), 0, f"{name}/".encode()
        with self._home.reading(run) as reader:
            for path, node in itertools.islice(reader.walk(_tree(reader, run, name)), skipped, None):
                if len(answer.files) == size or weight > PAGE_BYTES:
                    answer.next_page_token = str(skipped + len(answer.files))
                    break
                answer.files.append(_entry(prefix + path, node))
                weight += len(path)
        return answer

    def _pieces(self, run: Run, path: bytes) -> Generator[bytes]:
        with self._home.reading(run) as reader:
            node = _node(reader, _tree(reader, run, _tree_of(path)), path)
            for data in _content(reader, node):
                for start in range(0, len(data), BLOCK_BYTES):
                    yield bytes(data[start : start + BLOCK_BYTES])


def _problem(place: Place, rank: int) -> Problem:
    return Problem(
        path=place.path,
        line=place.line,
        column=place.column,
        severity=_SEVERITIES[place.weight],
        code=place.code,
        message=place.message,
        rank=rank,
    )


def _check_tree(run: Run, name: str) -> None:
    """Refuse a tree that the run does not have."""
    if name not in ("src", "data", "result"):
        raise InvalidInput(
            f"{name!r} is no tree of a run", reason="tree_unknown", hint="name src, data or result"
        )
    if name == "result" and not run.HasField("result"):
        raise WrongState(f"run {run.id} has no results yet", reason="no_results")
    if name != "result" and not run.HasField("snapshot"):
        raise WrongState(f"run {run.id} was never sealed", reason="not_sealed")


def _tree_of(path: bytes) -> str:
    return path.partition(b"/")[0].decode(errors="replace")


def _tree(reader: SnapshotReader, run: Run, name: str) -> Tree:
    snapshot = reader.open(run.result if name == "result" else run.snapshot)
    return {"src": snapshot.src, "data": snapshot.data, "result": snapshot.result}[name]


def _entry(path: bytes, node: Node) -> RunFile:
    match node:
        case FileNode():
            return RunFile(path=path, size=node.size)
        case DirectoryNode():
            return RunFile(path=path, directory=True)
        case SymlinkNode():
            return RunFile(path=path, target=node.target)


def _node(reader: SnapshotReader, tree: Tree, path: bytes) -> FileNode:
    """The file at a path; raises NotFound or InvalidInput."""
    digest = tree.digest
    node: Node | None = None
    for name in path.split(b"/")[1:]:
        if not digest:
            node = None
            break
        (entries,) = reader.listings([digest]).values()
        node = next((each for each in entries if each.name == name), None)
        digest = node.digest if isinstance(node, DirectoryNode) else b""
    if node is None:
        raise NotFound(f"the run has no file {shown(path)}", reason="file_missing")
    if not isinstance(node, FileNode):
        raise InvalidInput(f"{shown(path)} is no regular file", reason="not_a_file")
    return node


def _content(reader: SnapshotReader, node: FileNode) -> Iterator[bytes | memoryview]:
    """All bytes of a file in order; of a large one a few chunks at a time."""
    position = 0
    chunks = reader.chunks(node)
    while group := list(itertools.islice(chunks, AHEAD)):
        found = dict(reader.fetch(chunk.digest for _, chunk in group))
        for offset, chunk in group:
            yield from _zeros(offset - position)
            yield check_size(chunk, found[chunk.digest])
            position = offset + chunk.size
    if node.inline:
        yield node.inline
        position = len(node.inline)
    yield from _zeros(node.size - position)


def _zeros(count: int) -> Iterator[bytes]:
    """A hole."""
    block = bytes(min(count, BLOCK_BYTES))
    while count > 0:
        yield block[:count]
        count -= len(block)
