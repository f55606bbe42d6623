"""A user whose executors are taken for being on another machine: none reaches a store of the daemon."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from pollinator.daemon.reach.transport import Place
from support.sandbox import BIN, Sandbox, wait_until
from support.slow_line import SlowLine, slow_line

FAR = """\
import sys

if "pollinator.daemon.main" in sys.orig_argv:
    from pollinator.daemon.reach.local import LocalProcess
    from pollinator.daemon.reach.served import Served

    LocalProcess.near = Served.near = False

    # Servers of tests are of this machine.
    from pollinator.chunks import s3_limited

    s3_limited.travels = lambda settings: True
"""
"""Every Python program of the user begins with this."""


@pytest.fixture
def far() -> Iterator[Sandbox]:
    """A sandbox in which all executors are far."""
    box = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    try:
        (box.folder / "python").mkdir()
        (box.folder / "python/sitecustomize.py").write_text(FAR)
        box.env["PYTHONPATH"] = str(box.folder / "python")
        yield box
    finally:
        box.close()


@contextmanager
def behind_a_line(far: Sandbox, *, round_trip_s: float, rate: float) -> Generator[SlowLine]:
    """An executor ``there`` behind a line; it sees nothing where the daemon has its store."""
    place = far.folder / "there"
    place.mkdir(mode=0o700)
    (far.state / "store").mkdir(mode=0o700, parents=True)
    socket, line = place / "x.sock", far.folder / "line.sock"
    executor = [
        str(BIN / "pollinator-executor"),
        "local",
        "--socket",
        str(socket),
        "--state",
        str(place / "x"),
    ]
    hide = f'mount -t tmpfs none "{far.state}/store" && exec "$@"'
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [*_apart(), "sh", "-c", hide, "sh", *executor],
            env=far.env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(socket.exists, "the executor listens")
        (far.state / "executors").mkdir(mode=0o700)
        known = asdict(Place("there", "local", f"unix:{line}", {}, "1"))
        (far.state / "executors/executors.json").write_text(json.dumps({"executors": [known]}))
        with slow_line(line, socket, round_trip_s=round_trip_s, rate=rate) as made:
            yield made
    finally:
        process.kill()
        process.wait()


def _apart() -> list[str]:
    """What gives a process mounts of its own; the test is skipped where that is not allowed."""
    unshare = shutil.which("unshare")
    apart = [unshare or "unshare", "--mount", "--propagation", "private", "--"]
    if unshare is None or subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no process can have mounts of its own here: unshare --mount is not allowed")
    return apart
