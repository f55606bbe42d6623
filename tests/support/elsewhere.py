"""A user with an executor on another machine, and a run there that tells when something of it is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.sandbox import Sandbox
from support.sshd import Site, pip_settings

COUNTS = """\
import os, pathlib, sys, time
for number in range(100_000):
    print(number, flush=True)
    if pathlib.Path(sys.argv[1], "enough").exists():
        break
    time.sleep(0.02)
pathlib.Path(os.environ["POLLINATOR_RESULT"], "last").write_text(str(number))
"""


def log_in_at(far: Site, box: Sandbox) -> None:
    """Let the user have keys for a machine."""
    box.env |= {"POLLINATOR_SSH_COMMAND": far.command, **pip_settings()}


def add(box: Sandbox, far: Site, *more: str, cwd: Path, expected: int = 0) -> str:
    """Add the machine as executor `there`; returns what was said."""
    done = box.cli("executors", "add", "there", far.address, "--kind", "local", *more, cwd=cwd, timeout=120)

    assert expected == done.returncode, done.stderr
    return done.stderr.decode()


def shown(box: Sandbox, cwd: Path) -> dict[str, Any]:
    """What is said of executor `there` without reaching it."""
    lines = box.cli("executors", "list", "--json", cwd=cwd).stdout.splitlines()
    found: list[dict[str, Any]] = [each for each in map(json.loads, lines) if each["name"] == "there"]
    return found[0]


def counting_project(box: Sandbox, folder: Path) -> Path:
    """A project whose run prints numbers until there is a file `enough` in a folder."""
    root = box.project(program=COUNTS)
    spec = (root / "project.yaml").read_text().replace("walltime: 120", "walltime: 600")
    (root / "project.yaml").write_text(spec + f"  args: [{folder}]\n")
    return root


def counted(root: Path, output: bytes) -> bool:
    """Every number is there, once and in order, up to the last one, which is also in the results."""
    last = int((root / "cfs" / "result" / "last").read_text())
    return [b"%d" % number for number in range(last + 1)] == output.split()
