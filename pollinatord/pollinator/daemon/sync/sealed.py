"""What the sync engine tells its callers."""

from __future__ import annotations

from dataclasses import dataclass

from pollinator.v1.project_pb2 import BigPath, ProjectState, SyncReport
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
class Backlog:
    """What is not in the store yet."""

    files: int
    unread_bytes: int
    unsent_bytes: int
    """Read, and not acknowledged by the store."""
    biggest: tuple[BigPath, ...]
    """The largest of what is to be read, while that is much."""

    @property
    def bytes(self) -> int:
        """To read or to send."""
        return self.unread_bytes + self.unsent_bytes


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """What the engine is at."""

    state: ProjectState.ValueType
    problem: str
    backlog: Backlog
    files: int
    bytes: int
    watching: str
    degraded: str
    missed: int
    synced_ns: int
    """Since when everything is in the store, or was last; 0 before that."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What was done in all so far."""

    requests: int
    chunks: int
    bytes_sent: int


def sync_report(snapshot: Snapshot, before: Counters, after: Counters, elapsed_s: float) -> SyncReport:
    """What a seal had to do."""
    report = SyncReport(
        files=snapshot.src.files + snapshot.data.files,
        bytes=snapshot.src.bytes + snapshot.data.bytes,
        chunks=after.chunks - before.chunks,
        bytes_uploaded=after.bytes_sent - before.bytes_sent,
        requests=after.requests - before.requests,
    )
    report.elapsed.FromMicroseconds(round(elapsed_s * 1e6))
    return report
