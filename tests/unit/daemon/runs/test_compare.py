"""What changed between two runs: their files, also across stores, and their settings."""

from __future__ import annotations

import pytest

from pollinator.chunks.read import SnapshotReader
from pollinator.daemon.runs.compare import compare_runs, compare_settings
from pollinator.executors.conformance.trees import Link, Listing
from pollinator.v1.project_pb2 import ChangeKind
from pollinator.v1.run_pb2 import Run
from pollinator.v1.spec_pb2 import EnvironmentVariable, RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import WrongState
from support.storing import MemoryStore, Publisher

BEFORE: Listing = {b"same": b"1\n", b"text": b"a\nb\n", b"gone": b"x", b"bytes": b"\xff", b"l": Link(b"same")}
AFTER: Listing = {b"same": b"1\n", b"text": b"a\nc\n", b"new": b"", b"bytes": b"\xfe", b"l": Link(b"text")}


def sealed(store: MemoryStore, listing: Listing) -> SnapshotRef:
    return Publisher(store).publish(listing)[0]


@pytest.mark.parametrize("stores", [1, 2])
def test_every_file_that_changed_is_told_whichever_store_it_is_in(stores: int) -> None:
    first = MemoryStore()
    second = first if stores == 1 else MemoryStore()
    base = Run(id="01", snapshot=sealed(first, BEFORE))
    other = Run(snapshot=sealed(second, AFTER))

    answer = compare_runs(SnapshotReader(first), base, SnapshotReader(second), other)

    assert ("01", "") == (answer.base_run_id, answer.run_id)
    kinds = {
        change.path: ChangeKind.Name(change.kind).removeprefix("CHANGE_KIND_") for change in answer.files
    }
    assert {
        b"src/bytes": "MODIFIED",
        b"src/gone": "REMOVED",
        b"src/l": "MODIFIED",
        b"src/new": "ADDED",
        b"src/text": "MODIFIED",
    } == kinds
    diffs = {change.path: change.text_diff for change in answer.files}
    assert "--- a/src/text\n+++ b/src/text\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n" == diffs[b"src/text"]
    assert "" == diffs[b"src/bytes"]


def test_a_run_is_like_itself() -> None:
    store = MemoryStore()
    base = Run(id="01", snapshot=sealed(store, BEFORE))
    reader = SnapshotReader(store)

    answer = compare_runs(reader, base, reader, base)

    assert ("01", "01") == (answer.base_run_id, answer.run_id)
    assert ([], []) == (list(answer.files), list(answer.settings))


@pytest.mark.parametrize("missing", [0, 1])
def test_a_run_that_was_never_sealed_cannot_be_compared(missing: int) -> None:
    store = MemoryStore()
    reader = SnapshotReader(store)
    runs = [Run(snapshot=sealed(store, BEFORE)) for _ in range(2)]
    runs[missing] = Run()

    with pytest.raises(WrongState) as caught:
        compare_runs(reader, runs[0], reader, runs[1])

    assert "not_sealed" == caught.value.reason


def test_settings_that_differ_are_told_by_their_keys_in_project_yaml() -> None:
    base = RunSpec(memory_bytes=1 << 30, nodes=1, executor_names=["a", "b"])
    base.environment.append(EnvironmentVariable(name="OLD", value="1"))
    spec = RunSpec(memory_bytes=4 << 30, nodes=1, executor_names=["a"], arguments=["--fast"])

    changes = {each.name: (each.base_value, each.value) for each in compare_settings(base, spec)}

    assert {
        "conditions.executorNames": ("a b", "a"),
        "conditions.mem": ("1Gi", "4Gi"),
        "environment.args": ("", "--fast"),
        "environment.env.OLD": ("1", ""),
    } == changes
    assert sorted(changes) == list(changes)
