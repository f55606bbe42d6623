"""What the pods of a run have told so far, as files of the run here, and what they are told.

A page is applied by writing what was printed where it belongs, so doing it again changes nothing. How many
were is noted once their bytes are on disk.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pollinator.chunks.store import Store
from pollinator.executors.kubernetes.data import JOURNAL_BYTES
from pollinator.executors.kubernetes.pages import JOURNAL, WORDS, Incoming, Outgoing, Page, Piece
from pollinator.executors.records import read_record, write_json
from pollinator.wire.errors import Corrupt
from pollinator.wire.faults import crash_point

AT_ONCE = 16
"""So many pages are applied before that is noted."""
KNOWN = "pods.json"
FOLDER = "pods"

_UID = re.compile(r"[0-9a-z-]{1,48}")
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class PodTold:
    """What one pod has told."""

    node: int
    attempt: int
    number: int = 0
    """How many of its pages are applied."""
    bases: dict[str, int] = field(default_factory=dict[str, int])
    """How much each of its ranks had printed in earlier pods, and how long the journal was."""
    quiet: bool = False
    """Nothing is printed there any more."""
    end: dict[str, Any] | None = None
    """Its last page: where its results are."""


class Told:
    """One run. Blocking, and for one thread at a time.

    Args:
        workspace: of the run.
        run_id: of the run.
        ranks_per_node: how many ranks may print in one pod.
    """

    def __init__(self, workspace: Path, run_id: str, ranks_per_node: int) -> None:
        self._workspace = workspace
        self._run_id = run_id
        self._ranks_per_node = ranks_per_node
        known = read_record(workspace / KNOWN) or {}
        self.pods = {uid: PodTold(**each) for uid, each in known.items()}

    def read(self, store: Store, uid: str, node: int, attempt: int) -> bool:
        """Apply what a pod has told since; whether there was anything. There may be more after that.

        Args:
            store: where.
            uid: of the pod.
            node: its number among the nodes of the run.
            attempt: the one that it is of.

        Raises:
            PollinatorError: the store does not answer, or what it has cannot be.
            OSError: it cannot be written here.
        """
        pod = self.pods.get(uid) or PodTold(node, attempt)
        pages, number = Incoming(self._run_id, _uid(uid), pod.number), pod.number
        touched: set[Path] = set()
        for _ in range(AT_ONCE):
            page = pages.next(store)
            if page is None:
                break
            if uid not in self.pods:
                pod = self._begin(uid, node, attempt)
            self._apply(pod, page, touched)
            pages.number += 1
            if page.about.get("over"):
                break
        if pages.number == number:
            return False
        crash_point("before_pages_noted")
        for path in touched:
            _sync(path)
        pod.number = pages.number
        self._save()
        return True

    def tell(self, store: Store, uid: str, files: Mapping[str, str], *, gone: bool = False) -> None:
        """Tell a pod something, each record once.

        Args:
            store: where.
            uid: of the pod.
            files: records for its ranks.
            gone: none of its ranks runs any more.

        Raises:
            PollinatorError: the store does not take it.
        """
        folder = self._workspace / FOLDER / _uid(uid)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        out = Outgoing(folder, self._run_id, uid + WORDS)
        out.settle(store)
        told = set(out.state.get("files", ()))
        news = {name: text for name, text in files.items() if name not in told}
        is_news = gone and not out.state.get("gone")
        if news or is_news:
            gone = gone or bool(out.state.get("gone"))
            state = {"files": sorted(told | news.keys()), "gone": gone}
            out.send(store, Page(files=news, about={"gone": gone}), state)

    def _begin(self, uid: str, node: int, attempt: int) -> PodTold:
        """Note what its ranks have printed before, which theirs comes after."""
        pod = self.pods[uid] = PodTold(node, attempt)
        first = node * self._ranks_per_node
        for rank in (JOURNAL, *range(first, first + self._ranks_per_node)):
            pod.bases[str(rank)] = _size(self._path(pod, rank))
        self._save()
        return pod

    def _apply(self, pod: PodTold, page: Page, touched: set[Path]) -> None:
        for piece in page.output:
            touched.add(self._write(pod, piece))
            if piece.rank == JOURNAL and b"done" in piece.data.split(b"\n"):
                pod.quiet = True
        if page.about.get("over"):
            pod.end = dict(page.about)
        pod.quiet = pod.quiet or bool(page.about.get("quiet")) or pod.end is not None

    def _write(self, pod: PodTold, piece: Piece) -> Path:
        base = pod.bases.get(str(piece.rank))
        if base is None:
            raise Corrupt(f"node {pod.node} tells of rank {piece.rank}, which is not its", reason="bad_page")
        path, offset = self._path(pod, piece.rank), base + piece.offset
        if offset > _size(path) or (piece.rank == JOURNAL and offset + len(piece.data) > JOURNAL_BYTES):
            raise Corrupt(f"what node {pod.node} tells of {path.name} cannot be", reason="bad_page")
        data = piece.data
        if (limit := self._limit(pod, piece.rank)) is not None:
            data = data[: max(0, limit - offset)]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(descriptor, data[done:], offset + done)
        finally:
            os.close(descriptor)
        return path

    def _limit(self, pod: PodTold, rank: int) -> int | None:
        """Where begins what another pod printed that took the place of this one; None without one."""
        later = False
        for other in self.pods.values():
            same = other.node == pod.node and (rank != JOURNAL or other.attempt == pod.attempt)
            if later and same:
                return other.bases[str(rank)]
            later = later or other is pod
        return None

    def _path(self, pod: PodTold, rank: int) -> Path:
        if rank == JOURNAL:
            return folder_of(self._workspace, pod.attempt) / str(pod.node)
        return self._workspace / "output" / str(rank)

    def _save(self) -> None:
        known = {
            uid: {
                "node": pod.node,
                "attempt": pod.attempt,
                "number": pod.number,
                "bases": pod.bases,
                "quiet": pod.quiet,
                "end": pod.end,
            }
            for uid, pod in self.pods.items()
        }
        write_json(self._workspace / KNOWN, known, durable=True)


def folder_of(workspace: Path, attempt: int) -> Path:
    """Where the journals of an attempt are here, and what its pods are to be told."""
    return workspace / "control" / str(attempt)


def _size(path: Path) -> int:
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _uid(uid: str) -> str:
    if not _UID.fullmatch(uid):
        raise Corrupt(f"{uid!r} is no id of a pod", reason="bad_pod")
    return uid
