"""Snapshots, specs and requests that are easy to write down, and results read back."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.store import Store
from pollinator.chunks.upload import Uploader
from pollinator.executors.conformance.trees import Listing, store_tree
from pollinator.model.ids import RANDOM_BYTES, run_id
from pollinator.v1.run_pb2 import Secret, SnapshotSource, StartRunRequest
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.store_pb2 import OwnStore, StoreSettings
from pollinator.v1.tree_pb2 import (
    DirectoryNode,
    FileNode,
    PackIndex,
    Snapshot,
    SnapshotRef,
    SymlinkNode,
    Tree,
)


def make_spec(**changes: Any) -> RunSpec:
    """A small spec that runs src/main.py."""
    fields: dict[str, Any] = {
        "project": "demo",
        "nodes": 1,
        "processes_per_node": 1,
        # Without the site module an interpreter starts in a few milliseconds.
        "command": "python3 -S",
        "source": "main.py",
        "walltime_ms": 60_000,
    }
    return RunSpec(**fields | changes)


def new_id() -> str:
    """An id for a run or a request."""
    return run_id(time.time_ns() // 1_000_000, os.urandom(RANDOM_BYTES))


def start_request(
    spec: RunSpec,
    snapshot: SnapshotRef,
    *,
    settings: StoreSettings | None = None,
    secrets: Mapping[str, str] | None = None,
) -> StartRunRequest:
    """A request for a new run."""
    source = SnapshotSource(run_id=new_id(), snapshot=snapshot, spec=spec)
    source.store.CopyFrom(settings or StoreSettings(own=OwnStore()))
    values = [Secret(name=name, value=value) for name, value in (secrets or {}).items()]
    return StartRunRequest(request_id=new_id(), snapshot=source, secrets=values)


def publish(store: Store, src: Listing, data: Listing) -> SnapshotRef:
    """Put a snapshot into a store, which is closed."""
    rows: list[PackIndex] = []
    uploader = Uploader(store, on_stored=rows.append)
    try:
        snapshot = Snapshot(version=1)
        snapshot.src.CopyFrom(Tree(digest=store_tree(src, uploader)))
        snapshot.data.CopyFrom(Tree(digest=store_tree(data, uploader)))
        return uploader.publish(snapshot, rows, [])
    finally:
        uploader.close()
        store.close()


def read_results(store: Store, ref: SnapshotRef) -> dict[bytes, tuple[str, int, bytes]]:
    """Path to (kind, permission bits, content) of a result tree in a store, which is closed."""
    reader = SnapshotReader(store)
    try:
        found: dict[bytes, tuple[str, int, bytes]] = {}
        files: dict[bytes, FileNode] = {}
        for path, node in reader.walk(reader.open(ref).result):
            match node:
                case FileNode():
                    files[path] = node
                case DirectoryNode():
                    found[path] = ("folder", node.mode, b"")
                case SymlinkNode():
                    found[path] = ("link", 0o777, node.target)
        places = {path: list(reader.chunks(node)) for path, node in files.items()}
        bodies = dict(reader.fetch(chunk.digest for chunks in places.values() for _, chunk in chunks))
        for path, node in files.items():
            content = bytearray(node.inline.ljust(node.size, b"\0"))
            for offset, chunk in places[path]:
                content[offset : offset + chunk.size] = bodies[chunk.digest]
            found[path] = ("file", node.mode, bytes(content))
        return found
    finally:
        store.close()
