"""Defects that a sync engine may have, put in on purpose: whoever tests it must find each of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pollinator.chunks import nodes, upload
from pollinator.chunks import recut as recutting
from pollinator.chunks.cut import Content
from pollinator.chunks.keys import PACK, SNAPSHOT
from pollinator.chunks.nodes import NodeSink
from pollinator.chunks.pack import PackBuilder
from pollinator.chunks.recut import recut
from pollinator.chunks.upload import Sending, Uploader
from pollinator.daemon.database import Connection
from pollinator.daemon.ignore import Ignore
from pollinator.daemon.index import Index
from pollinator.daemon.known import File
from pollinator.daemon.scan import Stamp, look, scan
from pollinator.daemon.sync import dirty, engine, lookout, outbox, reading
from pollinator.daemon.sync.dirty import DirtySet
from pollinator.daemon.sync.lookout import Lookout
from pollinator.daemon.sync.outbox import Outbox
from pollinator.daemon.sync.reading import Read, Taker, read_file
from pollinator.daemon.sync.state import Dir, Node, State, nodes_below
from pollinator.daemon.watch.base import Changes
from pollinator.v1.tree_pb2 import ChunkList, Directory, PackIndex, Snapshot, SnapshotRef
from pollinator.wire.errors import PollinatorError
from support import machine
from support.syncing import ref_of

Mutant = Callable[[], AbstractContextManager[object]]


def chunk_stored_before_it_is_confirmed() -> AbstractContextManager[object]:
    """A chunk counts as stored when its pack is sent."""

    class Rash(Uploader):
        def send(self) -> None:
            if self._open is not None:
                row, body = self._open.finish(PACK)
                self._open = None
                self._sending[self._threads.submit(self._put, row.key, body)] = Sending(row, body, len(body))
                self._on_stored(row)

    return patch.object(machine, "Uploader", Rash)


def deleted_path_kept() -> AbstractContextManager[object]:
    """A file that is gone stays in the tree."""

    class Keeping(DirtySet):
        def _forget(self, path: bytes) -> None:
            if not isinstance(self._state.get(path), File) or look(self._root, path) is not None:
                super()._forget(path)

    return patch.object(engine, "DirtySet", Keeping)


def rescan_of_known_paths_only() -> AbstractContextManager[object]:
    """A look at everything is a look at everything that was there before."""

    class Knowing(DirtySet):
        def _survey_subtree(self, below: bytes) -> None:
            if below or not self._state.root.children:
                super()._survey_subtree(below)
                return
            for path, _ in [*nodes_below(self._state.root)]:
                self._look_at(path)

    return patch.object(engine, "DirtySet", Knowing)


def rescan_of_disk_only() -> AbstractContextManager[object]:
    """A look at everything is a look at everything that is there now."""

    class Present(DirtySet):
        def _survey_subtree(self, below: bytes) -> None:
            if below:
                super()._survey_subtree(below)
                return
            for found in scan(self._root, b"", self._ignored):
                self._take(found)

    return patch.object(engine, "DirtySet", Present)


def manifest_before_chunks() -> AbstractContextManager[object]:
    """A snapshot is put while packs that it needs are on their way."""

    class Hasty(Uploader):
        def publish(
            self, snapshot: Snapshot, rows: Sequence[PackIndex], indexes: Sequence[str]
        ) -> SnapshotRef:
            row, body = PackBuilder(self._writer).finish(
                SNAPSHOT, snapshot=snapshot, packs=rows, indexes=indexes
            )
            self._store.put(row.key, body)
            self.flush()
            return ref_of(row.key, snapshot)

    return patch.object(machine, "Uploader", Hasty)


@contextmanager
def chunk_uploaded_without_checking_its_digest() -> Generator[None]:
    """A chunk is read when its pack is sent, and nobody looks whether it is still the same."""
    paths: dict[bytes, bytes] = {}

    def read(path: bytes, taker: Taker, earlier: Content | None = None) -> Read:
        def remember(digest: bytes, data: bytes | memoryview) -> None:
            paths[digest] = path
            taker.sink(digest, data)

        return read_file(path, dataclasses.replace(taker, sink=remember), earlier)

    class LatePack(PackBuilder):
        def __init__(self, writer: str, buffer: bytearray | None = None) -> None:
            super().__init__(writer, buffer)
            self._early: dict[bytes, bytes] = {}

        def add(self, digest: bytes, data: bytes | memoryview) -> None:
            self._early[digest] = bytes(data)
            super().add(digest, data)

        def finish(self, kind: str, **options: Any) -> tuple[PackIndex, memoryview]:
            late = PackBuilder("late")
            for digest, data in self._early.items():
                path = os.fsdecode(paths.get(digest, b""))
                late.add(digest, Path(path).read_bytes() if os.path.isfile(path) else data)
            return late.finish(kind, **options)

    with patch.object(dirty, "read_file", read), patch.object(upload, "PackBuilder", LatePack):
        yield


def racy_stamp_trusted() -> AbstractContextManager[object]:
    """A file that was read right after a change is done with."""

    def never(*_stamp: object) -> bool:
        return False

    return patch.object(dirty, "is_racy", never)


def mode_change_ignored() -> AbstractContextManager[object]:
    """A file whose contents look the same is the same."""

    class Careless(DirtySet):
        def _take_file(self, path: bytes, current: Node | None, stamp: Stamp, suspect: bool) -> None:
            if isinstance(current, File):
                before = current.stamp
                stamp = Stamp(stamp.size, stamp.mtime_ns, before.ctime_ns, stamp.ino, stamp.dev, before.mode)
            super()._take_file(path, current, stamp, suspect)

    return patch.object(engine, "DirtySet", Careless)


def renamed_folder_keeps_its_children() -> AbstractContextManager[object]:
    """When a folder leaves, what was in it stays."""

    class Keeping(DirtySet):
        def _forget(self, path: bytes) -> None:
            if not isinstance(self._state.get(path), Dir) or look(self._root, path) is not None:
                super()._forget(path)

    return patch.object(engine, "DirtySet", Keeping)


def overflow_ignored() -> AbstractContextManager[object]:
    """Nothing is done about events that were lost."""

    class Deaf(Lookout):
        def _with_new_rules(self, changes: Changes) -> Changes:
            return super()._with_new_rules(dataclasses.replace(changes, subtrees=changes.subtrees - {b""}))

    return patch.object(engine, "Lookout", Deaf)


def new_rules_ignored() -> AbstractContextManager[object]:
    """What is ignored by now stays, and what is not any more stays away."""

    class Stubborn(Ignore):
        def changed(self, below: Iterable[bytes] = (), **_announced: object) -> bool:
            return False

    return patch.object(lookout, "Ignore", Stubborn)


def nodes_not_made_again_after_a_failure() -> AbstractContextManager[object]:
    """A directory node that was lost on its way is taken for stored."""

    class Sure(State):
        def touch_all(self) -> None:
            pass

    return patch.object(engine, "State", Sure)


def files_not_read_again_after_a_failure() -> AbstractContextManager[object]:
    """A chunk that was lost on its way is taken for stored."""

    class Sure(DirtySet):
        def reread(self, path: bytes) -> None:
            pass

    return patch.object(engine, "DirtySet", Sure)


def unsent_file_remembered_as_stored() -> AbstractContextManager[object]:
    """After a restart every file in the index is taken for stored, whether its chunks are or not."""

    class Everything(set[bytes]):
        def __contains__(self, _digest: object) -> bool:
            return True

    class Trusting(Index):
        def _load_files(self, database: Connection) -> None:
            stored, self.stored = self.stored, Everything()
            super()._load_files(database)
            self.stored = stored

    return patch.object(outbox, "Index", Trusting)


def place_of_a_chunk_is_off_by_one() -> AbstractContextManager[object]:
    """What is remembered of a pack is not quite what its footer says."""

    class Sloppy(Uploader):
        def _stored(self, row: PackIndex, size: int) -> None:
            if len(row.entries) > 1:
                row.entries[-1].offset -= 1
            super()._stored(row, size)

    return patch.object(machine, "Uploader", Sloppy)


def chunks_are_said_to_be_in_another_pack() -> AbstractContextManager[object]:
    """Two packs that arrive one after the other are taken for each other."""

    class Confused(Uploader):
        before = ""

        def _stored(self, row: PackIndex, size: int) -> None:
            key, row.key = row.key, self.before or row.key
            self.before = key
            super()._stored(row, size)

    return patch.object(machine, "Uploader", Confused)


def refused_pack_taken_for_stored() -> AbstractContextManager[object]:
    """That a put failed is not noticed."""

    class Deaf(Uploader):
        def _put(self, key: str, body: memoryview) -> None:
            with suppress(PollinatorError):
                super()._put(key, body)

    return patch.object(machine, "Uploader", Deaf)


def index_object_lists_a_pack_under_way() -> AbstractContextManager[object]:
    """A list of packs in the store has one that has not arrived, and perhaps never will."""

    class Early(Uploader):
        def write_index(self, rows: Sequence[PackIndex]) -> Future[str]:
            return super().write_index([*rows, *(pack.row for pack in self._sending.values())])

    return patch.object(machine, "Uploader", Early)


def chunk_of_another_machine_taken_for_known() -> AbstractContextManager[object]:
    """A chunk is not sent again when anybody has stored it, though nobody is told where."""

    class Knowing(Outbox):
        @property
        def _known(self) -> set[bytes]:
            known: set[bytes] = vars(self._store).setdefault("known", set())
            return known

        def sink(self, digest: bytes, data: bytes | memoryview) -> None:
            if digest not in self._known:
                super().sink(digest, data)

        def has(self, digest: bytes) -> bool:
            return digest in self._known or super().has(digest)

        def _stored(self, row: PackIndex) -> None:
            self._known.update(entry.digest for entry in row.entries)
            super()._stored(row)

    return patch.object(engine, "Outbox", Knowing)


def list_of_chunks_not_sent() -> AbstractContextManager[object]:
    """The chunks of a large file are stored, and not all that says which they are."""
    emit = vars(nodes)["_emit"]

    def nobody(_digest: bytes, _data: bytes) -> None:
        pass

    def emit_folders(node: Directory | ChunkList, sink: NodeSink) -> bytes:
        digest: bytes = emit(node, sink if isinstance(node, Directory) else nobody)
        return digest

    return patch.object(nodes, "_emit", emit_folders)


def changed_chunk_taken_for_the_same() -> AbstractContextManager[object]:
    """Fingerprints of a large file are compared, and what comes out is forgotten."""

    def all_of(_comparison: object, spans: list[Any], _position: int) -> int:
        return len(spans)

    return patch.object(vars(recutting)["_Comparison"], "same", all_of)


def lost_chunk_of_a_large_file_not_given_again() -> AbstractContextManager[object]:
    """A chunk that is as it was is never given to the store again, also when it never got there."""

    def careless(*arguments: Any, held: object, kept: Callable[[int], None]) -> Content:
        del held
        return recut(*arguments, held=lambda _digest: True, kept=kept)

    return patch.object(reading, "recut", careless)


MUTANTS: tuple[Mutant, ...] = (
    chunk_stored_before_it_is_confirmed,
    deleted_path_kept,
    rescan_of_known_paths_only,
    rescan_of_disk_only,
    manifest_before_chunks,
    chunk_uploaded_without_checking_its_digest,
    racy_stamp_trusted,
    mode_change_ignored,
    renamed_folder_keeps_its_children,
    overflow_ignored,
    new_rules_ignored,
    nodes_not_made_again_after_a_failure,
    files_not_read_again_after_a_failure,
    unsent_file_remembered_as_stored,
    place_of_a_chunk_is_off_by_one,
    chunks_are_said_to_be_in_another_pack,
    refused_pack_taken_for_stored,
    index_object_lists_a_pack_under_way,
    chunk_of_another_machine_taken_for_known,
    list_of_chunks_not_sent,
    changed_chunk_taken_for_the_same,
    lost_chunk_of_a_large_file_not_given_again,
)
