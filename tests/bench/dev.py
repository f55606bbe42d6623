"""How long from a save to the first line of its run, beside programs that just start a script anew."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.bed import PEERS, Bed
from bench.harness import OURS, Bound, Measured, NotHere, Row, figure, ratio
from support.sandbox import BIN, Sandbox

PART = 10
"""Fifty saves where other rows do five rounds."""

REST_S = 0.3
"""Between two saves, as of a person who is quick: watchers are at rest, and runs have ended."""

_LONGEST_S = 30.0

_SCRIPT = "print({word!r}, flush=True)\n"


class _Watcher:
    """A program that runs a script at each save, with its output in a pipe."""

    def __init__(self, command: Sequence[str], folder: Path, script: Path, env: dict[str, str]) -> None:
        self._script = script
        self._words = (f"word{number}" for number in itertools.count())
        self._lines = b""
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self._out = self._process.stdout
        os.set_blocking(self._out.fileno(), False)

    def save(self) -> Measured:
        """Save once and wait for the line."""
        word = next(self._words)
        other = self._script.with_name(".new.swp")
        other.write_text(_SCRIPT.format(word=word))
        began_ns = time.perf_counter_ns()
        os.replace(other, self._script)
        self.read(word)
        took = Measured((time.perf_counter_ns() - began_ns) / 1e6)
        time.sleep(REST_S)
        return took

    def read(self, word: str) -> None:
        """Return when the line has come."""
        deadline = time.monotonic() + _LONGEST_S
        while f"{word}\n".encode() not in self._lines:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{word!r} never came, only {self._lines[-200:]!r}")
            try:
                self._lines = self._lines[-200:] + os.read(self._out.fileno(), 65536)
            except BlockingIOError:
                time.sleep(0.0005)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._out.close()


def dev(bed: Bed) -> Row:
    """From a save to the first line of output, on this machine."""
    if not (PEERS / "watchmedo").exists():
        raise NotHere("watchmedo is not installed: make bench installs it")
    sandbox = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    with ExitStack() as stack:
        stack.callback(sandbox.close)
        contenders: dict[str, Callable[[], Measured]] = {}
        for name, command in _commands().items():
            root = sandbox.project(f"bench-{name.split()[0]}", _SCRIPT.format(word="first"))
            src = root / "cfs/src"
            folder = root if name == OURS else src
            watcher = _Watcher(command, folder, src / "main.py", sandbox.env)
            stack.callback(watcher.close)
            watcher.read("first")
            contenders[name] = watcher.save
        time.sleep(1.0)
        samples = bed.interleave(contenders, part=PART)
    p95 = samples[0].p95()
    assert p95 is not None
    return Row(
        "dev",
        "save to first line of output on this machine",
        samples,
        [
            ratio(samples, OURS, "watchmedo", 2.0),
            ratio(samples, OURS, "watchfiles", 3.0),
            figure(samples, OURS, "wall_ms", 300, "median at most 300 ms"),
            Bound("p95 at most 600 ms", p95, 600),
        ],
    )


def _commands() -> dict[str, Sequence[str]]:
    """How each is told to run the script at each save."""
    script = ["python3", "main.py"]
    restart = [str(PEERS / "watchmedo"), "auto-restart", "--directory", ".", "--patterns", "*.py", "--"]
    return {
        OURS: [str(BIN / "pollinator"), "dev"],
        "watchmedo": [*restart, *script],
        "watchfiles": [str(PEERS / "watchfiles"), "--filter", "python", " ".join(script), "."],
    }
