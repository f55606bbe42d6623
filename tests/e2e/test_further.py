"""A further executor of this machine, beside the one that everybody has: a process of its own kind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pollinator.wire.presence import holder_of
from support.sandbox import Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PROGRAM = """\
print("from beside")
open("result/out", "w").write("made there")
"""


def place_of(folder: Path) -> Path:
    [found] = folder.glob("beside-*")
    return found


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_project_runs_at_a_further_executor_which_is_gone_when_it_is_removed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    root = sandbox.project(program=PROGRAM)
    folder = tmp_path / "elsewhere"

    added = sandbox.cli("executors", "add", "beside", f"local:{folder}", "--kind", "local", cwd=root)
    done = sandbox.cli("run", "--on", "beside", "--follow", cwd=root)

    assert 0 == added.returncode, added.stderr
    assert (0, b"from beside\n") == (done.returncode, done.stdout), done.stderr
    assert "made there" == (root / "cfs/result/out").read_text()
    place = place_of(folder)
    holder = holder_of(place / "executor.lock")
    assert holder is not None
    assert alive(holder.pid)
    assert 0 == sandbox.cli("executors", "remove", "beside", cwd=root).returncode
    wait_until(lambda: not alive(holder.pid), "its process ends")
    assert not place.exists()


def test_it_is_started_anew_with_other_settings(sandbox: Sandbox, tmp_path: Path) -> None:
    root = sandbox.project(program=PROGRAM)
    address = f"local:{tmp_path}"
    added = sandbox.cli("executors", "add", "beside", address, "--kind", "slurm", cwd=root)
    assert 0 == added.returncode, added.stderr
    before = holder_of(place_of(tmp_path) / "executor.lock")

    changed = sandbox.cli("executors", "set", "beside", "slurm.poll=7-70", cwd=root)

    assert b"slurm.poll=7-70" in changed.stdout, changed.stderr
    after = holder_of(place_of(tmp_path) / "executor.lock")
    assert before is not None
    assert after is not None
    assert before.pid != after.pid


@pytest.mark.parametrize(
    ("address", "options", "words"),
    [
        ("local:", [], "say it with --kind"),
        ("local:folder", ["--kind", "local"], "write local: or local:/absolute/folder"),
        ("local:", ["--kind", "nonsense"], "executor 'nonsense' is not known; known are:"),
        ("local:", ["--kind", "slurm", "--set", "slurm.nonsense=1"], "slurm.nonsense"),
    ],
)
def test_what_cannot_be_meant_is_said_when_it_is_added(
    sandbox: Sandbox, address: str, options: list[str], words: str
) -> None:
    root = sandbox.project(program=PROGRAM)

    done = sandbox.cli("executors", "add", "beside", address, *options, cwd=root)

    assert 0 != done.returncode
    assert words in " ".join(os.fsdecode(done.stderr).split())
