"""A daemon that was asked to end does end."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.sandbox import Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

HANGS = """\
import asyncio, sys
from pollinator.daemon import main
from pollinator.daemon.sync.projects import Projects

async def hang(self):
    await asyncio.Event().wait()

Projects.close = hang
main.LAST_RESORT_S = 0.5
sys.exit(main.main())
"""


def test_a_daemon_in_which_something_hangs_ends_all_the_same(sandbox: Sandbox) -> None:
    root = sandbox.project()
    with subprocess.Popen([sys.executable, "-c", HANGS], env=sandbox.env, cwd="/") as daemon:
        try:
            wait_until(sandbox.socket.exists, "the daemon listens")

            stopped = sandbox.cli("daemon", "stop", cwd=root)

            assert 0 == stopped.returncode, stopped.stderr
            assert 0 == daemon.wait(10)
        finally:
            daemon.kill()
