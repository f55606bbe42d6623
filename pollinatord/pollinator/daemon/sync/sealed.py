"""What the sync engine tells its callers."""

from __future__ import annotations

from dataclasses import dataclass

from pollinator.v1.project_pb2 import ProjectState, SyncReport
from pollinator.v1.run_pb2 import Notice
from pollinator.v1.tree_pb2 import Snapshot, SnapshotRef


@dataclass(frozen=True, slots=True)
class Sealed:
    """A published snapshot."""

    ref: SnapshotRef
    snapshot: Snapshot
    report: SyncReport
    notices: tuple[Notice, ...]


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """What the engine is at."""

    state: ProjectState.ValueType
    problem: str
    backlog_files: int
    backlog_bytes: int
    files: int
    bytes: int
    watching: str
    degraded: str
    missed: int
