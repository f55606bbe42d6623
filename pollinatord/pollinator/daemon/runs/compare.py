"""What changed between the files and settings of two runs."""

from __future__ import annotations

from pollinator.chunks.read import SnapshotReader
from pollinator.daemon.sync.diff import diff_snapshots
from pollinator.model.project import spec_settings
from pollinator.v1.project_pb2 import DiffRunsResponse, SettingChange
from pollinator.v1.run_pb2 import Run
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import WrongState


def compare_runs(
    base_reader: SnapshotReader, base: Run, reader: SnapshotReader, other: Run
) -> DiffRunsResponse:
    """Compare the snapshot of ``base`` with another, which may be of another project or in another store.

    What was never run is a run without an id.

    Raises:
        WrongState: one of them was never sealed.
    """
    if not base.snapshot.key or not other.snapshot.key:
        raise WrongState("a run that was never sealed cannot be compared", reason="not_sealed")
    files = diff_snapshots(base_reader, base_reader.open(base.snapshot), reader.open(other.snapshot), reader)
    return DiffRunsResponse(
        files=files,
        settings=compare_settings(base.spec, other.spec),
        base_spec=base.spec,
        spec=other.spec,
        base_run_id=base.id,
        run_id=other.id,
    )


def compare_settings(base: RunSpec, spec: RunSpec) -> list[SettingChange]:
    """Settings that differ, sorted by name."""
    before, after = spec_settings(base), spec_settings(spec)
    return [
        SettingChange(name=name, base_value=before.get(name, ""), value=after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
