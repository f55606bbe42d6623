"""A line to a machine behind ssh that goes dead in the middle of a run, and comes back."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from support.elsewhere import add, counted, counting_project, log_in_at, shown
from support.link import line
from support.sandbox import Sandbox, sandbox, wait_until
from support.sshd import site

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

CUT_S = 120
"""Long enough for every connection to be given up."""


def test_a_run_is_followed_without_gap_or_repeat_over_a_line_that_is_cut_for_two_minutes(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    with line() as way, site(line=way) as far:
        log_in_at(far, sandbox)
        root = counting_project(sandbox, tmp_path)
        add(sandbox, far, cwd=root)
        with sandbox.start_cli("run", "--on", "there", "--follow", cwd=root) as follower:
            assert follower.stdout is not None
            begin = os.read(follower.stdout.fileno(), 1)
            way.cut()
            mend_at = time.monotonic() + CUT_S
            wait_until(lambda: shown(sandbox, root)["reach"] == "unreachable", "the cut is noticed", 90)
            sandbox.kill_daemon()
            # How long it is cut is what this is about.
            time.sleep(mend_at - time.monotonic())
            way.mend()
            wait_until(lambda: shown(sandbox, root)["reach"] == "connected", "the way is back", 60)
            (tmp_path / "enough").touch()
            output, messages = follower.communicate(timeout=60)
        sandbox.kill_everything()

    assert 0 == follower.returncode, messages
    assert counted(root, begin + output)
    assert b"no word from the executor, the run goes on" in messages
