"""How long from a typed command to a job in the queue of a cluster behind a long and narrow line.

Beside what people do by hand: rsync, and sbatch over ssh, with one connection that is kept for both. A line
with a limited rate leads to the proxy, which adds the round trip, and from there to the login node: what is
sent up and what comes down share its rate.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.bed import Bed
from bench.harness import Bound, Measured, Row, figure, ratio
from bench.network import Network
from bench.process import run
from support.link import line
from support.sandbox import Sandbox
from support.slurm import Slurm
from support.sshd import Site, site

ROUND_TRIP_MS = 100.0
RATE = "20mbit"
NAME = "cluster"
SPEC = """\
projectname: bench
conditions: {executorNames: [cluster], cpu: 100m, mem: 100Mi, walltime: 60}
environment: {cmd: "true"}
"""
FILES = 300


@dataclass
class Desk:
    """A user with a project, and the way to the cluster."""

    sandbox: Sandbox
    root: Path
    far: Site
    host: str
    way: Network
    edits: int = 0

    def edit(self) -> None:
        """Change one line."""
        self.edits += 1
        (self.root / "cfs" / "src" / "main.py").write_text(f"print({self.edits})\n")

    def ssh(self, *command: str) -> list[str]:
        """A command there, over a connection that is kept."""
        kept = [
            "-o",
            "ControlMaster=auto",
            "-o",
            f"ControlPath={self.far.folder}/m",
            "-o",
            "ControlPersist=600",
        ]
        return [*self.far.command.split(), *kept, "-p", str(self.way.port), self.host, *command]


@contextmanager
def desk() -> Generator[Desk]:
    """All of it, for the length of the block."""
    cluster = Slurm()
    sandbox = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    try:
        with (
            line() as way,
            site(variables=cluster.env, host=way.near) as far,
            Network(far.port, way) as network,
        ):
            way.limit(RATE)
            key = " ".join((far.folder / "host.pub").read_text().split()[:2])
            (far.folder / "known").write_text(f"[{way.far}]:{network.port} {key}\n")
            sandbox.env["POLLINATOR_SSH_COMMAND"] = far.command
            made = Desk(sandbox, project(sandbox), far, way.far, network)
            address = f"ssh://{far.user}@{way.far}:{network.port}"
            added = sandbox.cli("executors", "add", NAME, address, cwd=made.root, timeout=300)
            if added.returncode:
                raise RuntimeError(added.stderr.decode())
            network.set_round_trip(ROUND_TRIP_MS)
            far.cut()
            yield made
            far.end_all()
    finally:
        sandbox.close()
        cluster.stop()


def project(sandbox: Sandbox) -> Path:
    """With some files, so that it matters that they are not looked at."""
    root = sandbox.project("bench")
    (root / "project.yaml").write_text(SPEC)
    for number in range(FILES):
        (root / "cfs" / "src" / f"module{number}.py").write_bytes(os.urandom(2048).hex().encode())
    return root


def ours(made: Desk) -> Callable[[], Measured]:
    """From the start of ``pollinator run`` to the id of the job, as the executor writes it down there."""

    def measure() -> Measured:
        made.edit()
        before, started_ns = made.way.traffic(), time.time_ns()
        ended = made.sandbox.cli("run", cwd=made.root)
        if ended.returncode:
            raise RuntimeError(ended.stderr.decode())
        accepted_ns = accepted(made.far.home, ended.stdout.decode().strip())
        used = made.way.traffic().since(before)
        return Measured((accepted_ns - started_ns) / 1e6, requests=used.turns, sent=used.sent)

    return measure


def accepted(home: Path, run_id: str) -> int:
    """When sbatch had accepted the job of a run, in nanoseconds."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for found in home.glob(f".local/state/pollinator/executors/*/runs/{run_id}/job.json"):
            return found.stat().st_mtime_ns
        time.sleep(0.005)
    raise RuntimeError(f"run {run_id} never was in the queue")


def by_hand(made: Desk) -> Callable[[], Measured]:
    """rsync, and sbatch over ssh."""

    def measure() -> Measured:
        made.edit()
        before, started_ns = made.way.traffic(), time.perf_counter_ns()
        shell = " ".join(made.ssh()[:-1])
        target = f"{made.host}:{made.far.home}/by-hand/"
        run(["rsync", "-a", "-e", shell, f"{made.root}/cfs", target])
        run(made.ssh("sbatch", "--parsable", "--output=/dev/null", "--mem=100M", "--wrap=true"))
        used = made.way.traffic().since(before)
        took_ms = (time.perf_counter_ns() - started_ns) / 1e6
        return Measured(took_ms, requests=used.turns, sent=used.sent)

    return measure


def far_submit(bed: Bed) -> Row:
    """A one-line edit, and a run of it at a cluster that is far away."""
    with desk() as made:
        contenders = {
            "pollinator run": ours(made),
            "rsync, ssh sbatch": by_hand(made),
            "ssh true": lambda: Measured(run(made.ssh("true")).wall_ms),
        }
        samples = bed.interleave(contenders, part=1)
    bounds: list[Bound] = [
        figure(samples, "pollinator run", "wall_ms", 1500, "at most 1500 ms"),
        ratio(samples, "pollinator run", "rsync, ssh sbatch", 1.0),
    ]
    work = f"from `run` after a one-line edit to a job in Slurm's queue, {ROUND_TRIP_MS:g} ms and {RATE} away"
    notes = ["requests are how often an answer followed something sent, over all connections of the line"]
    return Row("far-submit", work, samples, bounds, notes)
