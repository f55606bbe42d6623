"""``pollinator dev`` as a user has it: on a terminal, or with its output in files that grow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support.sandbox import BIN, Sandbox, wait_until

SILENT_S = 60.0
"""A busy machine may take so long for one step."""

REST_S = 2.0
"""A save is answered much sooner."""

STAYS = """\
import time
print("version", {version}, flush=True)
time.sleep(600)
"""
"""Stays until it is ended."""


class Loop:
    """A loop without a terminal."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self._folder = folder

    @property
    def out(self) -> str:
        """What runs have printed so far."""
        return (self._folder / "dev-out").read_text()

    @property
    def err(self) -> str:
        """What was said about them."""
        return (self._folder / "dev-err").read_text()

    def printed(self, text: str, times: int = 1) -> None:
        """Return when runs have printed this."""
        self._wait(lambda: self.out.count(text) >= times, text)

    def said(self, text: str, times: int = 1) -> None:
        """Return when this was said."""
        self._wait(lambda: self.err.count(text) >= times, text)

    def interrupt(self) -> int:
        """Press Ctrl-C; returns the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(SILENT_S)

    def rest(self) -> None:
        """Return when nothing has happened for a while: whatever follows a save has begun by then."""
        seen = None
        while seen != (now := (self.out, self.err)):
            seen = now
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(REST_S)

    def _wait(self, condition: Callable[[], bool], text: str) -> None:
        wait_until(lambda: condition() or self.process.poll() is not None, text, SILENT_S)

        assert condition(), f"{text!r}\n{self.out}\n{self.err}"


@contextmanager
def looping(sandbox: Sandbox, root: Path, *words: str, **env: str) -> Generator[Loop]:
    """``pollinator dev`` in a project, without a terminal."""
    with (sandbox.folder / "dev-out").open("wb") as out, (sandbox.folder / "dev-err").open("wb") as err:
        process = subprocess.Popen(
            [str(BIN / "pollinator"), "dev", *words],
            cwd=root,
            env=sandbox.env | env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    try:
        yield Loop(process, sandbox.folder)
    finally:
        process.kill()
        process.wait()


def save(path: Path, text: str) -> None:
    """As careful editors do: another file takes the place of the one before."""
    other = path.with_name(f".{path.name}.swp")
    other.write_text(text)
    os.replace(other, path)


def runs(sandbox: Sandbox, root: Path, *words: str) -> list[dict[str, Any]]:
    """All runs of the project, newest first."""
    listed = sandbox.cli("list", "--json", "-n", "1000", *words, cwd=root)
    return [json.loads(line) for line in listed.stdout.splitlines()]


def states(sandbox: Sandbox, root: Path) -> list[str]:
    """Of all runs, newest first."""
    return [run["state"] for run in runs(sandbox, root)]
