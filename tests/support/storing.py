"""A store in memory that can be told to fail, and what is below a folder."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from pollinator.chunks.cut import Content
from pollinator.chunks.flow import Flow
from pollinator.chunks.keys import check_key
from pollinator.chunks.store import Listed
from pollinator.chunks.upload import PACK_BYTES, Uploader
from pollinator.executors.conformance.trees import File, Folder, Link, Listing, store_tree
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import PackIndex, Snapshot, SnapshotRef, Tree
from pollinator.wire.errors import NotFound, PollinatorError


@dataclass
class MemoryStore:
    """Objects in a dictionary. ``fail_puts`` and ``damage`` make it misbehave."""

    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])
    gets: list[tuple[str, int, int | None]] = field(default_factory=list[tuple[str, int, int | None]])
    puts: list[str] = field(default_factory=list[str])
    fail_puts: list[PollinatorError] = field(default_factory=list[PollinatorError])
    """Raised by the next puts, one each."""
    damage: dict[str, int] = field(default_factory=dict[str, int])
    """How many more reads of a key give damaged bytes."""
    gate: threading.Event | None = None
    """Puts wait until it is set."""

    times: dict[str, int] = field(default_factory=dict[str, int])
    """When objects were written, by ``clock_ns``; 0 for those that were put in past ``put``."""
    clock_ns: Callable[[], int] = time.time_ns
    sent: Flow = field(default_factory=Flow)

    @property
    def identity(self) -> str:
        return "memory"

    @property
    def requests(self) -> int:
        return len(self.gets) + len(self.puts)

    @property
    def retries(self) -> int:
        return 0

    def put(self, key: str, data: bytes | memoryview) -> None:
        self.puts.append(check_key(key))
        if self.gate is not None:
            self.gate.wait(10)
        if self.fail_puts:
            raise self.fail_puts.pop(0)
        self.objects[key] = bytes(data)
        self.sent.add(len(data))
        self.times[key] = self.clock_ns()

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        self.gets.append((check_key(key), offset, length))
        if key not in self.objects:
            raise NotFound(f"memory has no object {key}", reason="object_missing")
        data = self.objects[key][offset : None if length is None else offset + length]
        if self.damage.get(key, 0) > 0:
            self.damage[key] -= 1
            return bytes(byte ^ 0xFF for byte in data)
        return data

    def missing(self, keys: list[str]) -> list[str]:
        return [key for key in keys if check_key(key) not in self.objects]

    def keys(self, prefix: str = "") -> Iterator[str]:
        return (each.key for each in self.listing(prefix))

    def listing(self, prefix: str = "") -> Iterator[Listed]:
        found = sorted(key for key in self.objects if key.startswith(prefix))
        return iter([Listed(key, len(self.objects[key]), self.times.get(key, 0)) for key in found])

    def delete(self, key: str) -> None:
        self.objects.pop(check_key(key), None)

    def check(self) -> None: ...

    def close(self) -> None: ...


def weight(listing: Listing) -> int:
    """Bytes of all files of a tree written down as names and contents."""
    total = 0
    for what in listing.values():
        match what:
            case bytes():
                total += len(what)
            case File(data):
                total += len(data)
            case Content():
                total += what.size
            case Link():
                pass
            case Folder(below):
                total += weight(below)
            case Mapping():
                total += weight(what)
    return total


@dataclass
class Publisher:
    """Publishes trees as the engine does: rows of packs are kept and handed on."""

    store: MemoryStore
    pack_bytes: int = PACK_BYTES
    rows: list[PackIndex] = field(default_factory=list[PackIndex])

    def publish(
        self, listing: Listing, *, flush: bool = False, index: bool = False
    ) -> tuple[SnapshotRef, Tree]:
        """Store a tree. ``flush``: in packs of its own; ``index``: listed by an index object."""
        uploader = Uploader(self.store, on_stored=self.rows.append, pack_bytes=self.pack_bytes)
        try:
            tree = Tree(digest=store_tree(listing, uploader))
            if flush:
                uploader.flush()
            indexes: list[str] = []
            if index:
                indexes.append(uploader.write_index(self.rows).result())
                self.rows.clear()
            snapshot = Snapshot(version=1, src=tree, spec=RunSpec())
            return uploader.publish(snapshot, self.rows, indexes), tree
        finally:
            uploader.close()


def listed(root: str | os.PathLike[str]) -> dict[bytes, tuple[str, int, bytes]]:
    """What is below a folder: path to (kind, permission bits, content or target)."""
    found: dict[bytes, tuple[str, int, bytes]] = {}
    top = os.fsencode(root)
    for folder, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(folder, name)
            shown = os.path.relpath(path, top)
            mode = os.lstat(path).st_mode & 0o7777
            if os.path.islink(path):
                found[shown] = ("link", 0o777, os.readlink(path))
            elif os.path.isdir(path):
                found[shown] = ("folder", mode, b"")
            else:
                with open(path, "rb") as file:
                    found[shown] = ("file", mode, file.read())
    return found
