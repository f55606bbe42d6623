"""Which runs keep their files and results in the store: decisions only."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from pollinator.model.run import is_terminal
from pollinator.v1.keeping_pb2 import KeepReason, Kept, Ref
from pollinator.v1.run_pb2 import Run
from pollinator.v1.tree_pb2 import SnapshotRef


def kept_runs(
    runs: Sequence[Run], pinned: Collection[str], *, newest: int, younger_than_ns: int
) -> Iterator[tuple[Run, KeepReason.ValueType]]:
    """The runs that keep their files, each with the reason.

    Args:
        runs: all of one project, newest first.
        pinned: ids of those that stay whatever their age.
        newest: so many that have ended are kept.
        younger_than_ns: those accepted since then are kept as well.
    """
    ended = 0
    for run in runs:
        ended += is_terminal(run.state)
        if not is_terminal(run.state):
            yield run, KeepReason.KEEP_REASON_ACTIVE
        elif run.id in pinned:
            yield run, KeepReason.KEEP_REASON_PINNED
        elif ended <= newest or run.accept_time.ToNanoseconds() >= younger_than_ns:
            yield run, KeepReason.KEEP_REASON_RECENT


def make_ref(
    head: SnapshotRef | None,
    packs: Sequence[str],
    view_s: int,
    kept: Collection[tuple[Run, KeepReason.ValueType]],
) -> Ref:
    """What a client says that it keeps."""
    found = [Kept(snapshot=head, why=KeepReason.KEEP_REASON_HEAD)] if head is not None else []
    for run, why in kept:
        found += [
            Kept(snapshot=snapshot, why=why, run_id=run.id)
            for snapshot in (run.snapshot, run.result)
            if snapshot.key
        ]
    found.sort(key=lambda each: (each.snapshot.key, each.why, each.run_id))
    return Ref(kept=found, packs=sorted(packs), view_s=view_s)
