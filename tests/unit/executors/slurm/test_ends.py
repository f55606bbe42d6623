"""How jobs ended that left no final record: by what Slurm says, and never a success."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pollinator.executors.slurm.batch import INTERRUPTED, verdict
from pollinator.executors.slurm.ends import by_slurm, is_final
from pollinator.executors.slurm.seen import JobSeen
from pollinator.executors.slurm.states import BASE, FLAGS

STOPPED = verdict(INTERRUPTED, 3, -15) | {"cpu_s": 1.5, "peak_memory_bytes": 7}


def seen(state: str, **changes: Any) -> JobSeen:
    return replace(JobSeen("7", 0.0, state=state), **changes)


@pytest.mark.parametrize(
    ("state", "reason", "signal"),
    [
        ("TIMEOUT", "time_limit", 15),
        ("DEADLINE", "time_limit", 15),
        ("OUT_OF_MEMORY", "out_of_memory", 9),
        ("NODE_FAIL", "node_failed", 0),
        ("BOOT_FAIL", "node_failed", 0),
        ("PREEMPTED", "preempted", 15),
        ("CANCELLED", "cancelled", 15),
    ],
)
@pytest.mark.parametrize("record", [None, STOPPED])
def test_slurm_says_why_it_ended_a_job(
    state: str, reason: str, signal: int, record: dict[str, Any] | None
) -> None:
    found = by_slurm(seen(state), record, cancelled=False, started=True)

    assert (reason, signal, 128 + signal if signal else 1) == (
        found["reason"],
        found["signal"],
        found["exit_code"],
    )
    assert "job 7" in found["detail"]


def test_what_the_supervisor_had_counted_is_kept() -> None:
    found = by_slurm(seen("TIMEOUT"), STOPPED, cancelled=False, started=True)

    assert (1.5, 7) == (found["cpu_s"], found["peak_memory_bytes"])


@pytest.mark.parametrize("state", ["CANCELLED", "FAILED", "TIMEOUT", "COMPLETED"])
def test_a_job_that_we_wished_to_end_was_cancelled(state: str) -> None:
    assert "cancelled" == by_slurm(seen(state), STOPPED, cancelled=True, started=True)["reason"]


def test_who_cancelled_it_is_said_where_that_is_known() -> None:
    found = by_slurm(seen("CANCELLED", cancelled_by="1000"), None, cancelled=False, started=False)

    assert "by user 1000" in found["detail"]


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED"])
@pytest.mark.parametrize("started", [True, False])
def test_nothing_is_a_success_without_a_record(state: str, started: bool) -> None:
    found = by_slurm(seen(state, exit_code=0), None, cancelled=False, started=started)

    assert ("node_failed" if started else "launch") == found["reason"]
    assert found["exit_code"] != 0


def test_a_job_that_never_began_has_the_exit_code_of_its_script() -> None:
    found = by_slurm(seen("FAILED", exit_code=126), None, cancelled=False, started=False)

    assert ("launch", 126) == (found["reason"], found["exit_code"])


def test_a_job_that_slurm_has_forgotten_is_lost_unless_it_was_interrupted() -> None:
    gone = seen("RUNNING", gone=True)

    assert "lost" == by_slurm(gone, None, cancelled=False, started=True)["reason"]
    assert "backend" == by_slurm(gone, STOPPED, cancelled=False, started=True)["reason"]
    assert "cancelled" == by_slurm(gone, None, cancelled=True, started=True)["reason"]


def test_no_state_of_a_job_that_ended_means_success() -> None:
    words = [(name, ()) for name in BASE] + [("", (name,)) for name in FLAGS]
    ended = [seen(base, flags=flags) for base, flags in words if seen(base, flags=flags).meaning.ended]

    assert len(ended) >= 9
    assert all(by_slurm(each, None, cancelled=False, started=True)["reason"] for each in ended)


def test_only_a_record_that_was_not_interrupted_is_final() -> None:
    assert is_final(verdict("", 0, 0))
    assert is_final(verdict("cancelled", 0, -15))
    assert not is_final(STOPPED)
    assert not is_final(None)
