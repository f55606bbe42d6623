"""Executors under test, each in a process of its own, reached with the code of the daemon's clients.

A new executor is one entry in ``PROFILES``. What it cannot do is named there with the reason, so that the
report of a test run says which parts of the contract were left out, and why.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import resource
import signal
import subprocess
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from pollinator.chunks.store import Store
from pollinator.executors.conformance.client import CALL_S, FEATURES, ExecutorUnderTest, Followed
from pollinator.v1.executor_pb2 import Capabilities, PreflightRequest
from pollinator.v1.run_pb2 import StartRunRequest
from support import kubernetes_bucket, kubernetes_of_contract, slurm_of_contract
from support.colonies import contract
from support.containers import apptainer_specs, docker_specs, shared_dockerd
from support.sandbox import BIN, Sandbox, gone

__all__ = ["CALL_S", "FEATURES", "ExecutorUnderTest", "Followed"]

KEPT_OUT = {"AWS_SECRET_ACCESS_KEY": "keep-out", "COLONIES_PRVKEY": "keep-out"}
"""What an executor's environment may hold and a rank must not see."""


@dataclass(frozen=True)
class Profile:
    """What the suite has to know about an executor. There may be several of one kind."""

    kind: str = ""
    """Its kind, where that is not the name of the profile."""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """It is started with these."""
    specs: Callable[[], Mapping[str, Any]] = dict[str, Any]
    """What every spec says besides. Asked for before the start: skips what cannot run here."""
    environment: Callable[[], Mapping[str, str]] = dict[str, str]
    """Variables of its process."""
    site: Callable[[], Mapping[str, str]] = dict[str, str]
    """Further settings, which are known once what it stands on is there."""
    place: Callable[[Path], None] = lambda folder: None
    """Has its state elsewhere than in this folder, where it must be."""
    own_pids: bool = False
    """Its runs have process ids of their own."""
    without: Mapping[str, str] = field(default_factory=dict[str, str])
    """Features it does not have, each with the reason."""
    clean: Callable[[Path], None] = lambda folder: None
    """Ends what was started elsewhere by an executor that has its state below this folder."""
    unlimited: str = ""
    """Why nobody can say what it has room for."""
    prepare: Callable[[StartRunRequest | PreflightRequest], None] = lambda request: None
    """Adds to a request what is the same for all."""
    store: Callable[[str], Store] | None = None
    """That of a project, where its runs do not have theirs beside the executor."""
    process_id: Callable[[str], str] = str
    """What ranks are told as the id of their process, from the id of their run."""
    bucket_only: str = ""
    """Why files of its runs cannot be in a folder of this machine."""
    lag_s: float = 0.2
    """What is printed is told so late at most."""
    crash_points: tuple[str, ...] = ()
    """Points of its own at which its process may be killed while it hands a run over."""


PROFILES = {
    "colonies": Profile(
        without={
            "secrets": "all members of a colony see what a process is given",
            "containers": "the executor that serves the colony runs commands on the host",
        },
        unlimited="others run what it is given",
        prepare=contract.prepare,
        store=contract.store,
        process_id=contract.process_id,
        lag_s=1.5,
    ),
    "kubernetes": Profile(
        specs=kubernetes_of_contract.specs,
        environment=kubernetes_of_contract.environment,
        site=kubernetes_of_contract.settings,
        place=kubernetes_of_contract.place,
        own_pids=True,
        clean=kubernetes_of_contract.clean,
        crash_points=("before_create", "after_create", "after_job"),
    ),
    "kubernetes-bucket": Profile(
        kind="kubernetes",
        specs=kubernetes_of_contract.specs,
        environment=kubernetes_of_contract.environment,
        site=kubernetes_bucket.settings,
        own_pids=True,
        clean=kubernetes_of_contract.clean,
        prepare=kubernetes_bucket.prepare,
        store=kubernetes_bucket.store,
        bucket_only="its pods reach buckets only",
        lag_s=2.5,
        crash_points=("before_create", "after_create", "after_job"),
    ),
    "local": Profile(
        settings={"containers.engines": "none"},
        without={"containers": "it runs commands on the host"},
        crash_points=("before_supervisor", "after_supervisor"),
    ),
    "local-apptainer": Profile(
        kind="local", settings={"containers.engines": "apptainer"}, specs=apptainer_specs
    ),
    "local-docker": Profile(
        kind="local",
        settings={"containers.engines": "docker"},
        specs=docker_specs,
        environment=lambda: shared_dockerd().env,
        own_pids=True,
    ),
    "slurm-apptainer": Profile(
        kind="slurm",
        settings={"containers.engines": "apptainer"},
        specs=apptainer_specs,
        environment=slurm_of_contract.environment,
        clean=slurm_of_contract.clean,
    ),
    "slurm": Profile(
        settings={"containers.engines": "none"},
        without={"containers": "it runs commands on the host"},
        environment=slurm_of_contract.environment,
        clean=slurm_of_contract.clean,
        crash_points=("before_sbatch", "after_sbatch", "after_job"),
    ),
}
CRASH_POINTS = (
    "before_lay_out",
    "after_lay_out",
    "before_exit_event",
    "before_collect",
    "after_collect",
    "before_clean",
)
"""Points at which the process of any executor may be killed in the course of a run."""

_REGISTERED = {point.name for point in importlib.metadata.entry_points(group="pollinator.executors")}
EVERY = sorted(_REGISTERED | PROFILES.keys())
"""Every kind has a profile of this name, and may have more."""

KINDS = [kind for kind in EVERY if kind != "colonies"]
"""Those that run something themselves."""


class ExecutorProcess(ExecutorUnderTest):
    """One of ours: its process, and what it leaves on this machine."""

    def __init__(
        self, name: str, box: Sandbox, specs: Mapping[str, Any], profile: Profile | None = None
    ) -> None:
        self.box = box
        self.profile = profile or PROFILES[name]
        self.kind = self.profile.kind or name
        self.state = box.folder / "x"
        self.socket = box.folder / "r" / "x" / "x.sock"
        self.log = box.folder / "executor.log"
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(f"unix:{self.socket}", name, specs, self.profile.without)
        self._prepare(self.runs, "StartRun")
        self._prepare(self.about, "Preflight")

    async def limits(self) -> Capabilities:
        """What it offers; skips the test where that is up to others."""
        if self.profile.unlimited:
            pytest.skip(f"{self.name} has no limits of its own: {self.profile.unlimited}")
        return await super().limits()

    def store(self, project: str = "demo") -> Store:
        """Its own store, as it lends it, or the one that stands for that."""
        return self.profile.store(project) if self.profile.store else super().store(project)

    async def process_id(self, run: str) -> str:
        """What the ranks of a run are told as the id of their process."""
        return await asyncio.to_thread(self.profile.process_id, run)

    def _prepare(self, service: Any, name: str) -> None:
        call = getattr(service, name)

        def prepared(request: StartRunRequest | PreflightRequest, **named: Any) -> Any:
            self.profile.prepare(request)
            return call(request, **named)

        setattr(service, name, prepared)

    # Its process

    async def start(self, *, dies_at: str = "", **environment: str) -> None:
        """Start the process, which may be killed at a named point, and wait for its first answer."""
        if self._process is not None:
            await self.ended()
        if dies_at:
            environment["POLLINATOR_CRASH_AT"] = dies_at
        self._process = self._spawn(environment)
        async with asyncio.timeout(CALL_S):
            # The first call may be sent to the process that was killed.
            while not await self._answers():
                pass

    async def start_another(self) -> int:
        """Start a second process on the same state; its exit code."""
        return await asyncio.to_thread(self._spawn({}).wait, CALL_S)

    async def _answers(self) -> bool:
        try:
            await self.describe()
        except grpc.aio.AioRpcError as cut:
            if cut.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return True

    def _spawn(self, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        # Paths may be relative.
        command = [str(BIN / "pollinator-executor"), self.kind, "--socket", "r/x/x.sock", "--state", "x"]
        for name, value in {**self.profile.settings, **self.profile.site()}.items():
            command += ["--set", f"{name}={value}"]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.box.folder,
                env=self.box.env | KEPT_OUT | dict(self.profile.environment()) | dict(environment),
                start_new_session=True,
            )

    def ask_to_end(self) -> None:
        """As a service manager would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    @contextmanager
    def full_disk(self) -> Generator[None]:
        """None of its files can grow: the kernel answers as for a full disk."""
        assert self._process is not None
        limits = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, limits)

    def kill(self) -> None:
        """As a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def ended(self, timeout_s: float = CALL_S) -> int:
        """The exit code of the process, once it has ended."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, timeout_s)

    async def restart(self, **environment: str) -> None:
        """Kill it and start it again."""
        self.kill()
        await self.start(**environment)

    async def close(self) -> None:
        """End it in peace, and everything it started."""
        assert self._process is not None
        try:
            if self._process.poll() is None:
                self.ask_to_end()
                assert await self.ended() == 0
            # gRPC complains in its own name when a client goes while it is answered.
            said = self.log.read_text()
            errors = [line for line in said.splitlines() if " ERROR pollinator" in line]
            assert [] == errors, said
        finally:
            await super().close()
            await asyncio.to_thread(self.profile.clean, self.box.folder)
            self.box.close()

    # Its machine

    def here(self) -> None:
        """It is."""

    def process_exists(self, pid: int) -> bool:
        """A process that a run started still runs."""
        if self.profile.own_pids:
            return pid in _pids_of_containers(os.listdir(self.state / "runs"))
        return not gone(pid)

    def files(self) -> list[Path]:
        """Every file that it keeps for runs: not its store, not its cache. Some may be on their way out."""
        walked = os.walk(self.state / "runs")
        return [Path(folder, name) for folder, _, files in walked for name in files]

    def holding(self, text: bytes) -> list[Path]:
        """Those of its files that hold this, its log included."""
        found: list[Path] = []
        for path in [*self.files(), self.log]:
            with suppress(FileNotFoundError):
                if path.is_file() and text in path.read_bytes():
                    found.append(path)
        return found


def _pids_of_containers(runs: Sequence[str]) -> set[int]:
    """Ids of all processes of these runs that have one of their own, as they see them."""
    marks = [f"POLLINATOR_RUN_ID={run}\0".encode() for run in runs]
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            ids = path.read_text().partition("NSpid:")[2].partition("\n")[0].split()
            environment = path.with_name("environ").read_bytes() + b"\0"
            if len(ids) > 1 and any(mark in environment for mark in marks):
                found.add(int(ids[-1]))
    return found


@asynccontextmanager
async def started(kind: str, *, dies_at: str = "", **environment: str) -> AsyncGenerator[ExecutorProcess]:
    """An executor of this kind in a sandbox of its own."""
    # An image may have to be made first.
    specs = await asyncio.to_thread(PROFILES[kind].specs)
    under_test = ExecutorProcess(kind, Sandbox(Path(tempfile.mkdtemp(prefix="pol-"))), specs)
    await asyncio.to_thread(PROFILES[kind].place, under_test.box.folder)
    under_test.state = under_test.state.resolve()
    try:
        await under_test.start(dies_at=dies_at, **environment)
        yield under_test
    finally:
        await under_test.close()


@pytest.fixture(scope="module", params=EVERY)
async def executor(request: pytest.FixtureRequest) -> AsyncIterator[ExecutorProcess]:
    """One of each kind for all tests of a module."""
    async with started(request.param) as under_test:
        yield under_test
