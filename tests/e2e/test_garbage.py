"""Collecting the store of a project as a user does it, alone and beside another user of the same bucket."""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pollinator.executors.conformance.trees import random_bytes
from support.s3_servers import S3Server
from support.sandbox import Sandbox, sandbox
from support.thorough import times

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SHORT = {"POLLINATOR_COLLECT_GRACE_S": "2", "POLLINATOR_KEEP_RUNS": "1", "POLLINATOR_KEEP_DAYS": "0"}
SOAK_S = times(25, 600)
"""The two users of one bucket go on for so long."""


def collected(sandbox: Sandbox, root: Path, *options: str) -> dict[str, Any]:
    """What ``gc`` says."""
    done = sandbox.cli("gc", "--json", *options, cwd=root)

    assert 0 == done.returncode, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def objects_of(found: list[dict[str, Any]]) -> int:
    return sum(each["objects"] for each in found)


def wait_for_removal(sandbox: Sandbox, root: Path) -> None:
    """Collect until something is removed."""
    deadline = time.monotonic() + 60
    while not objects_of(collected(sandbox, root)["removed"]):
        assert time.monotonic() < deadline, "nothing is ever removed"


def test_what_no_run_needs_is_condemned_and_then_removed(sandbox: Sandbox) -> None:
    sandbox.env |= SHORT
    root = sandbox.project()
    data = root / "cfs" / "data" / "big"
    data.write_bytes(random_bytes(3 << 20))
    assert 0 == sandbox.cli("sync", cwd=root).returncode
    data.write_bytes(random_bytes(3 << 20, b"other"))
    assert 0 == sandbox.cli("sync", cwd=root).returncode
    before = collected(sandbox, root, "--dry-run")
    wait_for_removal(sandbox, root)
    after = collected(sandbox, root, "--dry-run")

    assert 0 == objects_of(before["removed"])
    assert after["bytes"] < before["bytes"] - (2 << 20)
    assert 0 == sandbox.cli("run", "-f", cwd=root).returncode


def test_a_pinned_run_keeps_its_files(sandbox: Sandbox) -> None:
    sandbox.env |= SHORT
    root = sandbox.project()
    ids: list[str] = []
    for number in range(3):
        (root / "cfs" / "data" / "n").write_bytes(random_bytes(5000, b"%d" % number))
        ran = sandbox.cli("run", cwd=root)
        ids.append(ran.stdout.decode().strip())
        assert 0 == sandbox.cli("wait", ids[-1], cwd=root).returncode
        if number == 0:
            pinned = sandbox.cli("pin", ids[0], "--json", cwd=root)

            assert {"run_id": ids[0], "pinned": True} == json.loads(pinned.stdout)
            assert b"pinned: " in sandbox.cli("show", ids[0], cwd=root).stdout
    listed = map(json.loads, sandbox.cli("list", "--json", cwd=root).stdout.splitlines())
    assert {ids[0]: True, ids[1]: False, ids[2]: False} == {run["id"]: run["pinned"] for run in listed}
    wait_for_removal(sandbox, root)
    outs = [sandbox.cli("checkout", each, f"{sandbox.folder}/{each}", cwd=root) for each in ids]

    late = sandbox.cli("pin", ids[1], cwd=root)

    assert 102 == late.returncode, late.stderr
    assert [0, 102, 0] == [out.returncode for out in outs], [out.stderr for out in outs]
    assert b"does not have the files of run" in outs[1].stderr


@pytest.fixture
def others(rclone_s3: S3Server) -> Iterator[list[Sandbox]]:
    """Two users with homes of their own and one bucket."""
    made: list[Sandbox] = []
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        for folder in (first, second):
            made.append(Sandbox(Path(folder)))
            made[-1].env |= SHORT | rclone_s3.environment() | {"POLLINATOR_COLLECT_GRACE_S": "4"}
        yield made
        for each in made:
            each.close()


@pytest.mark.timeout(SOAK_S + 120)
def test_two_users_of_one_bucket_lose_nothing_while_both_collect(others: list[Sandbox]) -> None:
    name = f"soak{random.randrange(10**9)}"
    roots = [each.project(name) for each in others]
    end = time.monotonic() + SOAK_S
    chance = random.Random(1)
    removed = rounds = 0
    while time.monotonic() < end or not rounds:
        for who, root in zip(others, roots, strict=True):
            for _ in range(3):
                path = root / "cfs" / "data" / f"f{chance.randrange(4)}"
                path.write_bytes(random_bytes(200_000, b"%d" % chance.randrange(20)))
            ran = who.cli("run", cwd=root)
            assert 0 == ran.returncode, ran.stderr
            run_id = ran.stdout.decode().strip()
            assert 0 == who.cli("wait", run_id, cwd=root).returncode
            target = who.folder / f"out{rounds}"
            restored = who.cli("checkout", run_id, str(target), cwd=root)
            assert 0 == restored.returncode, restored.stderr
            assert sorted(os.listdir(root / "cfs/data")) == sorted(os.listdir(target / "data"))
            removed += objects_of(collected(who, root)["removed"])
        rounds += 1

    assert removed or SOAK_S < 20
