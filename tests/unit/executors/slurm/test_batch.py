"""The supervisor in a job, as far as it needs no Slurm: who has the run, and may it be tried again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pollinator.executors.records import attempts, read_record, write_exit, write_json
from pollinator.executors.slurm import batch
from pollinator.executors.slurm.batch import (
    INTERRUPTED,
    bound_time,
    claim,
    first_failed,
    is_superseded,
    not_again,
    take_secrets,
    verdict,
)

ONE = {"requeue": False, "max_requeues": 0}
MORE = {"requeue": True, "max_requeues": 2}


def ended(reason: str, rank: int, at: float) -> dict[str, Any]:
    return verdict(reason, rank, 1) | {"ended": at, "cpu_s": 0.0}


def test_the_first_job_has_the_run_and_keeps_it(tmp_path: Path) -> None:
    assert [True, False, True, False] == [claim(tmp_path, job) for job in ("7", "8", "7", "9")]
    assert ["claim"] == [each.name for each in tmp_path.iterdir()]


def test_the_rank_that_failed_first_decides() -> None:
    records = [
        ended("exit_code", 2, 5.0),
        ended("signal", 4, 3.0),
        ended("stopped", 1, 1.0),
        ended("", 0, 0.5),
    ]

    assert verdict("signal", 4, 1) == first_failed(records)
    assert first_failed([ended("", 0, 1.0), ended("stopped", 1, 2.0)]) is None


def test_a_new_run_may_begin(tmp_path: Path) -> None:
    assert not_again(tmp_path, ONE, 0) is None


def test_a_run_that_has_ended_is_not_run_again(tmp_path: Path) -> None:
    write_exit(tmp_path, verdict("exit_code", 0, 3))

    assert verdict("exit_code", 0, 3) == not_again(tmp_path, MORE, 1)


def test_a_run_that_is_not_wished_any_more_does_not_begin(tmp_path: Path) -> None:
    (tmp_path / "cancel").touch()
    record = not_again(tmp_path, ONE, 0)

    assert record is not None
    assert "cancelled" == record["reason"]


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_run_that_wants_one_attempt_has_no_second(tmp_path: Path, restarts: int) -> None:
    write_json(tmp_path / "started.json", {"restarts": 0})
    record = not_again(tmp_path, ONE, restarts)

    assert record is not None
    assert "node_failed" == record["reason"]


def test_attempts_are_counted_up_to_the_limit(tmp_path: Path) -> None:
    refused: list[bool] = []
    for restarts in (1, 2, 3):
        write_json(tmp_path / "started.json", {"restarts": restarts - 1})
        refused.append(not_again(tmp_path, MORE, restarts) is not None)

    assert [False, False, True] == refused
    assert 2 == attempts(tmp_path)
    assert (tmp_path / "started.json").exists()


def test_an_attempt_that_slurm_ended_is_put_aside(tmp_path: Path) -> None:
    write_json(tmp_path / "started.json", {"restarts": 0})
    write_exit(tmp_path, verdict(INTERRUPTED, 0, -15))

    assert not_again(tmp_path, MORE, 1) is None
    assert not (tmp_path / "exit.json").exists()
    assert verdict(INTERRUPTED, 0, -15) == read_record(tmp_path / "attempt.1.json")


def test_an_attempt_that_was_taken_for_dead_has_nothing_to_say(tmp_path: Path) -> None:
    assert is_superseded(tmp_path, "7", 0)
    claim(tmp_path, "7")
    assert not is_superseded(tmp_path, "7", 0)
    write_json(tmp_path / "started.json", {"restarts": 1})

    assert [True, False] == [is_superseded(tmp_path, "7", number) for number in (0, 1)]
    assert is_superseded(tmp_path, "8", 1)


@pytest.mark.parametrize(("plan", "left"), [(ONE, False), (MORE, True)])
def test_secrets_are_gone_once_nobody_needs_them_again(
    tmp_path: Path, plan: dict[str, Any], left: bool
) -> None:
    write_json(tmp_path / "secrets.json", {"TOKEN": "t"})
    whole = plan | {"env": {"A": "1"}}
    take_secrets(tmp_path, whole)

    assert {"A": "1", "TOKEN": "t"} == whole["env"]
    assert left == (tmp_path / "secrets.json").exists()


@pytest.mark.parametrize(
    ("printed", "walltime_ms", "expected"),
    [
        ("10:00", 0, 592_000),
        ("10:00", 900_000, 592_000),
        ("10:00", 60_000, 60_000),
        ("1-00:00:10", 0, 86_402_000),
        ("0:01", 0, 1),
        ("UNLIMITED", 0, 0),
        ("", 5000, 5000),
    ],
)
def test_our_own_end_comes_before_that_of_slurm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, walltime_ms: int, expected: int
) -> None:
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\necho {printed}\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    plan = {"requeue": True, "warning": "", "walltime_ms": walltime_ms, "grace_ms": 5000}
    bound_time(plan, "7")

    assert expected == plan["walltime_ms"]


def test_a_job_of_another_job_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    claim(tmp_path, "6")
    (tmp_path / "launch.json").write_text(json.dumps(ONE))
    monkeypatch.setenv("SLURM_JOB_ID", "7")

    assert 0 == batch.main([str(tmp_path)])
    assert "another job runs this" in capsys.readouterr().err
    assert not (tmp_path / "exit.json").exists()


def test_a_node_without_scontrol_costs_no_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(batch, "REQUEUE_S", 0.01)

    assert not batch.put_back("7")


def test_a_warning_that_comes_before_there_is_anybody_to_warn_ends_nothing(tmp_path: Path) -> None:
    workspace, programs = tmp_path / "r1", tmp_path / "bin"
    workspace.mkdir()
    programs.mkdir()
    for name, script in (("squeue", "kill -USR2 $PPID; echo 10:00"), ("srun", "exit 1")):
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    plan: dict[str, Any] = {"env": {}, "hidden": [], "container": None, "ranks_per_node": 1}
    plan |= {
        "cpus_per_task": 1,
        "init_command": "",
        "walltime_ms": 60_000,
        "warning": "USR1@1",
        "grace_ms": 100,
    }
    write_json(workspace / "launch.json", plan | ONE)

    done = subprocess.run(
        [sys.executable, "-m", "pollinator.executors.slurm.batch", str(workspace)],
        env=os.environ
        | {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1"},
        check=False,
        timeout=60,
    )

    record = read_record(workspace / "exit.json")
    assert 127 == done.returncode
    assert record is not None
    assert "launch" == record["reason"]
