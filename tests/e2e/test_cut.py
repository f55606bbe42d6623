"""The line to an executor is cut in the middle of a run, long enough for every connection to be given up."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from support.link import line
from support.sandbox import Sandbox, sandbox, wait_until
from support.sshd import site

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

CUT_S = 120
COUNTS = """\
import os, pathlib, time
number = 0
until = pathlib.Path("{flag}")
while not until.exists():
    print(number, flush=True)
    number += 1
    time.sleep(0.02)
pathlib.Path("result/last").write_text(str(number))
raise SystemExit(3)
"""


def test_nothing_is_lost_of_a_run_whose_line_is_cut_for_two_minutes(sandbox: Sandbox, tmp_path: Path) -> None:
    flag = tmp_path / "enough"
    root = sandbox.project(program=COUNTS.format(flag=flag))
    with line() as way, site(line=way) as far:
        sandbox.env["POLLINATOR_SSH_COMMAND"] = far.command
        added = sandbox.cli(
            "executors", "add", "there", far.address, "--kind", "local", cwd=root, timeout=180
        )
        assert 0 == added.returncode, added.stderr
        with sandbox.start_cli("run", "--on", "there", "--follow", cwd=root) as follower:
            assert follower.stdout is not None
            assert follower.stderr is not None
            begin = os.read(follower.stdout.fileno(), 1)
            way.cut()
            said = until_said(follower.stderr.fileno(), b"no word")
            # The daemon is started again while nothing gets through.
            sandbox.kill_daemon()
            # How long it is cut is what this is about.
            time.sleep(CUT_S)
            way.mend()
            wait_until(lambda: shown(sandbox, root) is None, "word is back", timeout_s=90)
            flag.touch()
            output, more = follower.communicate(timeout=120)
        numbers = (begin + output).split()

        assert 3 == follower.returncode, said + more
        assert [b"%d" % number for number in range(len(numbers))] == numbers
        assert len(numbers) == int((root / "cfs" / "result" / "last").read_text())
        assert 10 < len(numbers)
        sandbox.kill_everything()


def shown(sandbox: Sandbox, root: Path) -> object:
    """Since when there is no word from the executor of the newest run."""
    return sandbox.show("latest", root)["unreachable_since"]


def until_said(descriptor: int, text: bytes) -> bytes:
    """What is printed, up to a text."""
    said = b""
    while text not in said:
        block = os.read(descriptor, 4096)
        assert block, said
        said += block
    return said
