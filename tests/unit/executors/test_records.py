"""What records of attempts say of their run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.executors.records import end_of_run, may_go_on


@pytest.mark.parametrize(
    ("reason", "requeue", "cancelled", "attempts_before", "goes_on", "ends"),
    [
        ("time_limit", True, False, 0, True, "time_limit"),
        ("time_limit", True, True, 0, False, "cancelled"),
        ("preempted", True, True, 1, False, "cancelled"),
        # Nothing else would have come.
        ("time_limit", True, True, 2, False, "time_limit"),
        ("time_limit", False, True, 0, False, "time_limit"),
        ("exit_code", True, True, 0, False, "exit_code"),
        ("", True, True, 0, False, ""),
    ],
)
def test_a_run_that_only_a_cancel_keeps_from_another_attempt_is_cancelled(
    tmp_path: Path,
    reason: str,
    requeue: bool,
    cancelled: bool,
    attempts_before: int,
    goes_on: bool,
    ends: str,
) -> None:
    for number in range(attempts_before):
        (tmp_path / f"attempt.{number + 1}.json").touch()
    if cancelled:
        (tmp_path / "cancel").touch()
    record = {"reason": reason, "exit_code": 7}

    assert goes_on is may_go_on(tmp_path, record, requeue=requeue, max_requeues=2)
    assert {"reason": ends, "exit_code": 7} == end_of_run(tmp_path, record, requeue=requeue, max_requeues=2)
