"""What all rows stand on: a temporary folder, one S3 server behind the network, peers, random files."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from bench.harness import Measured, Sample, interleave
from bench.network import Network, Traffic
from bench.process import TESTS, Ran, run
from bench.resident import Resident
from support.s3_servers import Rclone, S3Server, started

PEERS = TESTS.parent / ".cache" / "peers" / "bin"
"""Programs from PyPI, in an environment of their own so that they pin nothing for ours."""

SEED = 20_261_101
FOLDER_FILES = 100


class Bed:
    """Belongs to one run of the benchmarks."""

    def __init__(
        self, folder: Path, server: S3Server, network: Network, *, rounds: int, round_trip_ms: float
    ) -> None:
        self.folder = folder
        self.server = server
        self.network = network
        self.rounds = rounds
        self.round_trip_ms = round_trip_ms
        self.last: Ran | None = None
        """The last process of our engine."""
        self._names = 0
        self._past_proxy = False
        network.set_round_trip(round_trip_ms)

    # The network

    @property
    def endpoint(self) -> str:
        """Of the server, as all clients see it."""
        return self.server.endpoint if self._past_proxy else f"http://127.0.0.1:{self.network.port}"

    @property
    def engine_env(self) -> dict[str, str]:
        """For our own engine."""
        return {**self.server.environment(), "AWS_S3_ENDPOINT": self.endpoint.partition("://")[2]}

    @property
    def peers_env(self) -> dict[str, str]:
        """For everybody else; no file of the user's is read."""
        aws = {
            "AWS_ACCESS_KEY_ID": self.server.access_key,
            "AWS_SECRET_ACCESS_KEY": self.server.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "S3_ENDPOINT_URL": self.endpoint,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        rclone = {
            "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_S_TYPE": "s3",
            "RCLONE_CONFIG_S_PROVIDER": "Other",
            "RCLONE_CONFIG_S_ENDPOINT": self.endpoint,
            "RCLONE_CONFIG_S_ACCESS_KEY_ID": self.server.access_key,
            "RCLONE_CONFIG_S_SECRET_ACCESS_KEY": self.server.secret_key,
        }
        home = {"HOME": str(self.folder), "XDG_CACHE_HOME": str(self.folder / "cache")}
        restic = {"RESTIC_PASSWORD": "bench"}
        return {"PATH": f"{PEERS}:{os.environ['PATH']}", **home, **aws, **rclone, **restic}

    # Contenders

    def interleave(
        self, contenders: Mapping[str, Callable[[], Measured]], *, part: float = 1.0, warm_up: bool = True
    ) -> list[Sample]:
        """The rounds of this run, or a part of them; fewer when the server is far away, for it takes long."""
        if self.round_trip_ms:
            return interleave(contenders, max(1, round(self.rounds * part / 2)), warm_up=False)
        return interleave(contenders, max(1, round(self.rounds * part)), warm_up=warm_up)

    def interleave_past_proxy(
        self, contenders: Mapping[str, Callable[[], Measured]], *, part: float = 1.0
    ) -> list[Sample]:
        """The same for much data, which costs the proxy CPU time that nobody has asked for.

        One round goes through it, is counted and not timed; the others go to the server and are timed.
        """
        if self.round_trip_ms:
            return self.interleave(contenders, part=part)
        counted = interleave(contenders, 1, warm_up=False)
        self._past_proxy = True
        try:
            timed = self.interleave(contenders, part=part, warm_up=False)
        finally:
            self._past_proxy = False
        return [_with_traffic(sample, each.rounds[0]) for sample, each in zip(timed, counted, strict=True)]

    def peer(self, *command: str, cwd: Path | None = None) -> Measured:
        """Run somebody else's program once."""
        before = self.network.traffic()
        ran = run(command, self.peers_env, cwd)
        return measured(ran.wall_ms, ran.cpu_ms, self.network.traffic().since(before))

    def engine_command(self, root: Path, index: Path) -> list[str]:
        """A fresh process of our engine; it runs in the folder of the tests."""
        return [sys.executable, "-m", "bench.engine_process", str(root), str(index)]

    def engine(self, root: Path, index: Path) -> Measured:
        """Open a project, send all and seal, in a fresh process."""
        return self._ours(self.engine_command(root, index))

    def puts(self, file: str) -> Measured:
        """Put a file's bytes as they are, in a fresh process."""
        return self._ours([sys.executable, "-m", "bench.put_process", file])

    def _ours(self, command: Sequence[str]) -> Measured:
        before = self.network.traffic()
        self.last = run(command, os.environ | self.engine_env, TESTS)
        return measured(self.last.wall_ms, self.last.cpu_ms, self.network.traffic().since(before))

    def first_look(self, root: Path) -> Ran:
        """The same with a store that keeps nothing."""
        return run(self.engine_command(root, self.fresh("index")), cwd=TESTS)

    @contextmanager
    def resident(self, root: Path, env: Mapping[str, str] | None = None) -> Generator[Resident]:
        """A project that is open and all in the store, from a fresh index."""
        settings = self.engine_env if env is None else env
        with Resident(root, self.fresh("index"), settings) as resident:
            resident.settle()
            resident.seal()
            self.rest(resident)
            yield resident

    def rest(self, resident: Resident) -> int:
        """Wait until nothing is left to do in the background; returns how many requests it made meanwhile."""
        before = self.network.traffic()
        resident.settle()
        while (now := self.network.traffic()).puts != now.puts_answered:
            time.sleep(0.005)
        # The last answer has to come all the way.
        time.sleep(self.round_trip_ms / 1000)
        return now.since(before).requests

    # The store

    @property
    def _bucket(self) -> Path:
        return self.folder / "server" / "content" / self.server.bucket

    def forget(self) -> None:
        """Empty the bucket, between rounds."""
        shutil.rmtree(self._bucket)
        self._bucket.mkdir()

    def objects_of(self, tree: Path) -> str:
        """Make an object of each file, behind the server's back; returns where, as rclone names it."""
        name = self.unique("objects")
        shutil.copytree(tree, self._bucket / name)
        return f"s:{self.server.bucket}/{name}"

    def repository(self, name: str) -> str:
        """A fresh repository of restic's."""
        place = f"s3:{self.endpoint}/{self.server.bucket}/{self.unique(name)}"
        run(["restic", "init", "-r", place], self.peers_env)
        return place

    # Files

    def unique(self, name: str) -> str:
        """A name that nothing has."""
        self._names += 1
        return f"{name}{self._names}"

    def fresh(self, name: str) -> Path:
        """A path at which nothing is."""
        return self.folder / self.unique(name)

    def project(self, files: int = 0, size: int = 0) -> Path:
        """A project with so many random files of a size, a hundred in a folder."""
        root = self.fresh("project")
        for tree in ("src", "data", "result"):
            (root / "cfs" / tree).mkdir(parents=True)
        make_tree(root / "cfs" / "src", files, size)
        return root

    @contextmanager
    def big_project(self, size: int) -> Generator[Path]:
        """A project with one random file, which is gone afterwards."""
        root = self.project()
        source = random.Random(SEED)
        with (root / "cfs" / "data" / "big").open("wb") as file:
            for _ in range(size // 2**24):
                file.write(source.randbytes(min(size, 2**24)))
        try:
            yield root
        finally:
            shutil.rmtree(root)


def measured(wall_ms: float, cpu_ms: float | None, traffic: Traffic) -> Measured:
    """A round of somebody who used the network."""
    return Measured(wall_ms, cpu_ms, traffic.requests, traffic.puts, traffic.sent, traffic.received)


def _with_traffic(sample: Sample, counted: Measured) -> Sample:
    traffic = {what: getattr(counted, what) for what in ("requests", "puts", "sent", "received")}
    return Sample(sample.name, tuple(replace(each, **traffic) for each in sample.rounds))


def make_tree(folder: Path, files: int, size: int) -> None:
    """Random files, the same ones for the same arguments."""
    source = random.Random(SEED)
    for start in range(0, files, FOLDER_FILES):
        below = folder / f"d{start // FOLDER_FILES:05}"
        below.mkdir()
        for number in range(start, min(files, start + FOLDER_FILES)):
            (below / f"f{number:07}").write_bytes(source.randbytes(size))


def tree_files(folder: Path, count: int, of: int) -> list[Path]:
    """Some files of such a tree, far from each other."""
    step = of // count
    return [folder / f"d{n // FOLDER_FILES:05}" / f"f{n:07}" for n in range(0, step * count, step)]


def rewrite(paths: Sequence[Path], seed: int) -> None:
    """Other contents of the same size."""
    source = random.Random(seed)
    for path in paths:
        path.write_bytes(source.randbytes(path.stat().st_size))


@contextmanager
def bed(below: Path | None, *, rounds: int, round_trip_ms: float = 0.0) -> Generator[Bed]:
    """Made for one run, below a folder, and gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pol-bench-", dir=below))
    (folder / "server").mkdir()
    try:
        server = started(lambda: Rclone(folder / "server"))
        try:
            port = urlsplit(server.endpoint).port
            assert port is not None
            with Network(port) as network:
                yield Bed(folder, server, network, rounds=rounds, round_trip_ms=round_trip_ms)
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
