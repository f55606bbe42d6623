"""What a run would be, and why one waits: nothing is run for either answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.sandbox import Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ALL_CORES = "conditions.cpu=100000"
"""More than there are: such a run gets the whole machine."""


def runs(sandbox: Sandbox, root: Path) -> list[str]:
    return sandbox.cli("list", "--json", cwd=root).stdout.decode().splitlines()


def test_a_dry_run_shows_what_would_be_run_and_runs_nothing(sandbox: Sandbox) -> None:
    root = sandbox.project(program="open('result/ran', 'w')")

    answer = sandbox.cli(
        "run", "--dry-run", "--set", "conditions.processesPerNode=3", "--", "a b", "$HOME", cwd=root
    )

    assert (0, "# 3 ranks\npython3 src/main.py 'a b' '$HOME'\n") == (
        answer.returncode,
        answer.stdout.decode(),
    )
    assert [] == runs(sandbox, root)


def test_a_dry_run_refuses_what_cannot_run(sandbox: Sandbox) -> None:
    root = sandbox.project()

    answer = sandbox.cli("run", "--dry-run", "--set", "conditions.gpu.count=1", cwd=root)

    assert 2 == answer.returncode, answer.stderr
    assert b"conditions.gpu.count" in answer.stderr


def test_what_if_compares_starts(sandbox: Sandbox) -> None:
    root = sandbox.project()

    answer = sandbox.cli("run", "--what-if", "nodes=2", "--what-if", "walltime=1h", "--json", cwd=root)
    shown = json.loads(answer.stdout)

    assert [1, 2] == [shown[each]["spec"]["nodes"] for each in ("as_it_is", "what_if")]
    assert 3_600_000 == shown["what_if"]["spec"]["walltime_ms"]
    assert shown["as_it_is"]["eta"]
    assert shown["what_if"]["eta"]
    assert [] == runs(sandbox, root)


def test_a_run_that_waits_is_explained(sandbox: Sandbox) -> None:
    root = sandbox.project(program="import time; time.sleep(60)")
    sandbox.cli("run", "--set", ALL_CORES, cwd=root)
    sandbox.cli("run", "--set", ALL_CORES, cwd=root)
    wait_until(lambda: sandbox.show("latest", root)["state"] == "queued", "it waits")

    waits = sandbox.cli("explain", cwd=root)
    shown = json.loads(sandbox.cli("explain", "--json", cwd=root).stdout)
    runs_now = sandbox.cli("explain", "latest~1", cwd=root)
    full = sandbox.cli("run", "--what-if", "mem=1Gi", "--set", ALL_CORES, cwd=root)
    sandbox.cli("cancel", "--all", "--wait", cwd=root)
    wrong = sandbox.cli("run", "--what-if", "mim=1Gi", cwd=root)

    assert b"waits for:" in waits.stdout
    assert b"--what-if conditions.mim: is not a setting; did you mean 'conditions.mem'?" in wrong.stderr
    assert "cpu" == shown["code"]
    assert b"waits for:" not in runs_now.stdout
    assert b"running" in runs_now.stdout
    assert 2 == full.stdout.count(b"not known")
