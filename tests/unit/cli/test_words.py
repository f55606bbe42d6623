"""Numbers, times and reasons in plain words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pollinator.cli.words import (
    bytes_text,
    count_text,
    duration_text,
    parse_duration_s,
    parse_since,
    signal_text,
    state_word,
    what_happened,
    what_to_do,
)
from pollinator.v1.run_pb2 import Outcome, OutcomeReason, Run, RunState, Usage
from pollinator.v1.spec_pb2 import RunSpec

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
R = OutcomeReason


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1000 << 20, "1000.0 MiB"), (5 << 40, "5.0 TiB")],
)
def test_bytes_are_told_in_binary_units(count: int, expected: str) -> None:
    assert bytes_text(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(-0.2, "0.0s"), (0.44, "0.4s"), (12.9, "12s"), (185, "3m05s"), (7800, "2h10m"), (360000, "4d04h")],
)
def test_durations_are_told_in_two_units(seconds: float, expected: str) -> None:
    assert duration_text(seconds) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172800), ("1w", 604800)],
)
def test_durations_are_read(text: str, expected: int) -> None:
    assert parse_duration_s(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "4x", "-5", "1.5h", "h", "10m later"])
def test_other_words_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration_s(text)


def test_since_takes_a_duration_or_a_date() -> None:
    assert parse_since("4h", NOW) == datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
    assert parse_since("2026-02-01T00:00+00:00", NOW) == datetime(2026, 2, 1, tzinfo=UTC)


def test_since_refuses_other_words() -> None:
    with pytest.raises(ValueError, match="neither a duration"):
        parse_since("yesterday", NOW)


def test_one_thing_is_told_in_the_singular() -> None:
    told = [count_text(number, "core") for number in (1, 2, 0.5)]

    assert told == ["1 core", "2 cores", "0.5 cores"]


@pytest.mark.parametrize("state", RunState.values())
def test_every_state_has_one_word(state: RunState.ValueType) -> None:
    assert state_word(state).isalpha()


def test_signals_are_named_where_they_have_a_name() -> None:
    assert signal_text(11) == "11 (SIGSEGV)"
    assert signal_text(99) == "99"


def failed(reason: OutcomeReason.ValueType, *, exit_code: int = 0, signal: int = 0, rank: int = 0) -> Run:
    return Run(
        id="abc",
        executor="local",
        state=RunState.RUN_STATE_FAILED,
        outcome=Outcome(reason=reason, exit_code=exit_code, signal=signal, rank=rank),
        spec=RunSpec(nodes=1, processes_per_node=2, memory_bytes=1000 << 20, walltime_ms=90_000),
        usage=Usage(peak_memory_bytes=1001 << 20, memory_source="cgroup-v2"),
    )


@pytest.mark.parametrize("reason", R.values())
def test_every_failure_says_what_happened_and_what_to_do(reason: OutcomeReason.ValueType) -> None:
    run = failed(reason)

    assert what_happened(run)
    assert "pollinator " in what_to_do(run)


def test_running_out_of_memory_tells_asked_peak_and_remedy() -> None:
    run = failed(R.OUTCOME_REASON_OUT_OF_MEMORY)

    assert "asked for 1000.0 MiB, peak 1001.0 MiB by cgroup-v2" in what_happened(run)
    assert what_to_do(run).endswith("pollinator rerun abc --set conditions.mem=2000Mi")


def test_running_out_of_time_tells_the_limit_and_remedy() -> None:
    run = failed(R.OUTCOME_REASON_TIME_LIMIT)

    assert "walltime of 1m30s" in what_happened(run)
    assert what_to_do(run).endswith("--set conditions.walltime=180")


def test_the_rank_that_failed_first_is_named() -> None:
    run = failed(R.OUTCOME_REASON_SIGNAL, signal=11, exit_code=139, rank=1)

    assert what_happened(run).startswith("Rank 1 was ended by signal 11 (SIGSEGV).")


def test_a_run_that_succeeded_needs_no_words() -> None:
    run = Run(state=RunState.RUN_STATE_SUCCEEDED)

    assert what_happened(run) + what_to_do(run) == ""
