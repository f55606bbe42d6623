"""The JSON that programs read."""

from __future__ import annotations

import json

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from pollinator.cli.plain import json_text, plain
from pollinator.v1.executor_pb2 import Partition
from pollinator.v1.project_pb2 import FileChange, SealResponse, SyncReport
from pollinator.v1.run_pb2 import Notice, Outcome, OutcomeReason, Run, RunState, Severity
from pollinator.v1.tree_pb2 import SnapshotRef


def test_numbers_words_digests_and_times_are_plain() -> None:
    run = Run(
        id="abc",
        state=RunState.RUN_STATE_FAILED,
        outcome=Outcome(reason=OutcomeReason.OUTCOME_REASON_EXIT_CODE, exit_code=3),
        accept_time=Timestamp(seconds=1_700_000_000, nanos=5_000_000),
        snapshot=SnapshotRef(digest=b"\x01\xff", key="s/01/01ff"),
        last_seq=2**60,
        notices=[Notice(severity=Severity.SEVERITY_WARNING, code="c", text="t")],
    )

    shown = json.loads(json_text(plain(run)))

    assert shown["state"] == "failed"
    assert shown["outcome"]["reason"] == "exit_code"
    assert shown["accept_time"] == "2023-11-14T22:13:20.005Z"
    assert shown["snapshot"] == {"digest": "01ff", "key": "s/01/01ff"}
    assert shown["last_seq"] == 2**60
    assert shown["notices"] == [{"severity": "warning", "code": "c", "text": "t"}]


def test_keys_never_disappear() -> None:
    shown = plain(Run())

    assert shown.keys() == {field.name for field in Run.DESCRIPTOR.fields}
    assert shown["state"] == ""
    assert shown["outcome"] is None
    assert shown["notices"] == []


def test_maps_are_objects_sorted_by_key() -> None:
    shown = plain(Partition(name="small", gpus={"mi250x": 8, "a100": 4}))

    assert shown["gpus"] == {"a100": 4, "mi250x": 8}
    assert list(shown["gpus"]) == ["a100", "mi250x"]
    assert plain(Partition())["gpus"] == {}


def test_durations_are_seconds() -> None:
    report = SyncReport(elapsed=Duration(seconds=1, nanos=500_000_000))

    assert plain(SealResponse(report=report))["report"]["elapsed_s"] == 1.5


def test_a_value_of_a_newer_peer_is_its_number() -> None:
    run = Run()
    run.outcome.ParseFromString(b"\x08\x63")

    assert plain(run)["outcome"]["reason"] == "99"


def test_a_path_that_is_no_text_is_still_json() -> None:
    line = json_text(plain(FileChange(path=b"src/\xff")))

    assert line.isascii()
    assert json.loads(line)["path"] == "src/\udcff"


def test_text_is_not_escaped() -> None:
    assert json_text({"a": "ÆØÅ"}) == '{"a": "ÆØÅ"}'
