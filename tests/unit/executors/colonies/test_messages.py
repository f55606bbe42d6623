"""What a server says is read as far as it makes sense, and no further."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pollinator.executors.colonies import messages
from pollinator.executors.colonies.messages import (
    ENDED,
    State,
    executor_of,
    file_of,
    log_of,
    moment,
    process_of,
    row_of,
    snapshot_of,
)

PROCESS = {
    "processid": "p1",
    "initiatorname": "ada",
    "assignedexecutorid": "e1",
    "isassigned": True,
    "state": 1,
    "submissiontime": "2026-11-26T05:15:38.666745+01:00",
    "starttime": "2026-11-26T05:15:53.967525123+01:00",
    "endtime": "0001-01-01T01:12:12+01:12",
    "execdeadline": "2026-11-26T04:25:53Z",
    "retries": 2,
    "attributes": [
        {"attributetype": 3, "key": "NODES", "value": "c1,c2"},
        {"attributetype": 0, "key": "in", "value": "x"},
    ],
    "spec": {"funcname": "execute", "kwargs": {"cmd": "python3"}},
    "in": None,
    "out": [1, "two"],
    "errors": None,
    "of_the_future": {},
}

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
zones = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


def messages_like(message: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The fields of a message, each with anything in it, or not there."""
    return st.fixed_dictionaries({}, optional=dict.fromkeys(message, anything))


def test_a_process_is_read() -> None:
    process = process_of(PROCESS)

    assert ("p1", State.RUNNING, "e1", 2, "ada") == (
        process.id,
        process.state,
        process.executor_id,
        process.retries,
        process.initiator,
    )
    assert {"NODES": "c1,c2"} == process.attributes
    assert ((), (1, "two")) == (process.errors, process.output)
    assert "execute" == process.spec["funcname"]
    assert datetime(2026, 11, 26, 4, 15, 53, 967525, UTC) == process.started
    assert process.started is not None
    assert timedelta(hours=1) == process.started.utcoffset()
    assert datetime(2026, 11, 26, 4, 25, 53, tzinfo=UTC) == process.exec_deadline
    assert process.ended is None


def test_an_empty_process_is_read_as_well() -> None:
    process = process_of({})

    assert ("", State.WAITING, {}, {}, None) == (
        process.id,
        process.state,
        process.spec,
        process.attributes,
        process.submitted,
    )


@pytest.mark.parametrize("state", State)
def test_a_process_has_ended_in_three_states(state: State) -> None:
    assert (state in ENDED) is process_of({"state": int(state)}).has_ended
    assert 3 == len(ENDED)


def test_a_state_of_the_future_is_kept_and_no_end() -> None:
    process = process_of({"state": 17})

    assert (17, False) == (process.state, process.has_ended)


@pytest.mark.parametrize(
    "text",
    [
        None,
        17,
        "",
        "soon",
        "0001-01-01T00:00:00Z",
        "0001-01-01T01:12:12+01:12",
        "0000-01-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-11-26T05:15:38+99:00",
        "12026-11-26T05:15:38Z",
        "2026-11-26 05:15:38",
    ],
)
def test_what_is_no_moment_is_none(text: object) -> None:
    assert moment(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-26T05:15:38Z", datetime(2026, 11, 26, 5, 15, 38, tzinfo=UTC)),
        ("2026-11-26T05:15:38.5Z", datetime(2026, 11, 26, 5, 15, 38, 500_000, tzinfo=UTC)),
        ("2026-11-26T00:15:38.000001999-05:00", datetime(2026, 11, 26, 5, 15, 38, 1, tzinfo=UTC)),
        ("1900-01-01T00:00:00+01:12:12", datetime(1899, 12, 31, 22, 47, 48, tzinfo=UTC)),
    ],
)
def test_a_moment_has_the_zone_of_the_server(text: str, expected: datetime) -> None:
    assert expected == moment(text)


def test_an_executor_says_what_it_is_made_of_in_both_forms() -> None:
    software = {"name": "pollinator", "type": "executor", "version": "1"}
    said = {"executorid": "e", "executorname": "n", "executortype": "t", "state": 1}

    old = executor_of({**said, "capabilities": {"software": software}})
    new = executor_of({**said, "capabilities": {"software": [software, {"name": "slurm"}]}})
    none = executor_of({**said, "capabilities": {"software": None}})

    named = {"pollinator": "executor"}
    assert (named, {**named, "slurm": ""}, {}) == (old.software, new.software, none.software)
    assert ("e", "n", "t", 1, None) == (new.id, new.name, new.type, new.state, new.last_heard)


def test_a_file_is_read() -> None:
    told = {
        "fileid": "f",
        "label": "/a",
        "name": "b",
        "size": 3,
        "sequencenr": 7,
        "checksum": "AB",
        "ref": {"protocol": "s3", "s3object": {"object": "o", "accesskey": "never used"}},
    }

    assert messages.File("f", "/a", "b", 3, "ab", "o", 7) == file_of(told)
    assert messages.File("f", "/a", "b", 3, "ab", "", 7) == file_of({**told, "ref": {"s3object": None}})
    assert messages.FileRow("b", "ab", 3) == row_of(told)


def test_a_snapshot_of_nothing_has_no_files() -> None:
    told = {"snapshotid": "s", "name": "n", "label": "/a", "fileids": None}

    assert messages.Snapshot("s", "n", "/a", ()) == snapshot_of(told)
    assert ("f1", "f2") == snapshot_of({**told, "fileids": ["f1", "f2"]}).file_ids


def test_a_log_is_read_to_the_nanosecond() -> None:
    row = log_of({"message": "hello\n", "timestamp": 1_795_666_553_967_525_123})

    assert messages.LogRow("hello\n", 1_795_666_553_967_525_123) == row


# The first text that is made may take seconds on a busy machine.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages_like(PROCESS))
def test_any_process_is_read_without_an_error(message: dict[str, Any]) -> None:
    process = process_of(message)

    assert isinstance(process.state, int)
    assert all(isinstance(each, str) for each in process.errors)


@given(
    st.text(alphabet="0123456789-:.TZ+", max_size=40) | st.datetimes(timezones=zones).map(datetime.isoformat)
)
def test_any_moment_is_read_without_an_error(text: str) -> None:
    found = moment(text)

    assert found is None or found.year > 1


@pytest.mark.parametrize("answer", [None, {}, "x", 7, True])
def test_a_list_that_is_none_is_empty(answer: object) -> None:
    assert [] == messages.objects(answer)
    assert [] == messages.items(answer)


def test_only_objects_of_a_list_are_taken() -> None:
    assert [{"a": 1}] == messages.objects([None, {"a": 1}, "x"])
    assert {} == messages.one([{"a": 1}])
