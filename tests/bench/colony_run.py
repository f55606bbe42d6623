"""How long from `run` after a one-line edit of 10,000 files until an executor of a colony has the process.

Beside the original program on a project with the same files, with the same server and bucket. The executors
are played: they wait for work, and end it as soon as they have it. To one that says that it is ours the files
go by the bucket alone; to a public one they go by ColonyFS, as those of the original do.
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench import colony
from bench.bed import Bed
from bench.harness import Bound, Measured, Row, ratio
from bench.process import run
from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.funcspec import OURS, TYPE, label_of
from pollinator.executors.colonies.identity import unique_id
from support.colonies.asking import Member, stranger
from support.colonies.sites import Site
from support.sandbox import Sandbox

FILES = 10_000
SIZE = 1024
READY_S = 0.1
"""So long after it was sent a question is certainly before the server."""
POLL_S = 5
FIRST_S = 600.0
"""The first run has all files to send."""

TO_OURS, TO_PUBLIC = "pollinator run, executor of ours", "pollinator run, public executor"
AGAIN, SNAPSHOT = "the same, nothing changed", "the server's snapshot alone"
PEER, PEER_AGAIN = "the original's run", "the original's run, nothing changed"
SPEC = """\
projectname: {project}
conditions:
  executorNames: [{executor}]
  nodes: 1
  processesPerNode: 1
  cpu: 1000m
  mem: 1000Mi
  walltime: 600
  gpu: {{count: 0, name: ""}}
environment:
  docker: python:3.12
  rebuildImage: false
  init-cmd: ""
  cmd: python3
  source: main.py
tunnel: null
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A process that an executor was given."""

    process_id: str
    at_ns: int


@dataclass
class Project:
    """A project, and the executor that its runs go to."""

    name: str
    root: Path
    executor: Member
    edits: int = 0

    def edit(self) -> None:
        """Change one line."""
        self.edits += 1
        (self.root / "cfs" / "src" / "main.py").write_text(f"print({self.edits})\n")


@dataclass
class Desk:
    """A user of a colony, and two executors that wait for work."""

    bed: Bed
    site: Site
    sandbox: Sandbox
    threads: ThreadPoolExecutor
    over: bool = False
    """Nobody waits for work any more."""
    user: Member = field(init=False)
    ours: Member = field(init=False)
    public: Member = field(init=False)

    def __post_init__(self) -> None:
        self.user = self.site.user()
        self.public = self.site.executor(kind=TYPE)
        self.ours = stranger(self.site.fresh("executor"))
        software = {"software": [{"name": OURS, "type": "", "version": "0"}]}
        executor = {
            "executorid": self.ours.identity,
            "executorname": self.ours.name,
            "executortype": f"type-{self.ours.name}",
            "colonyname": self.site.name,
            "capabilities": software,
        }
        self.site.line.ask(self.site.owner, "addexecutormsg", executor=executor).granted  # noqa: B018
        self.site.approve(self.ours)
        variables = self.site.environment(self.user) | colony.bucket().environment()
        self.sandbox.env |= variables

    def project(self, executor: Member, files: int = FILES) -> Project:
        """A new project with so many files."""
        root = self.bed.project(files, SIZE)
        made = Project(secrets.token_hex(32), root, executor)
        (root / "project.yaml").write_text(SPEC.format(project=made.name, executor=executor.name))
        return made

    def waits(self, executor: Member, *, end: bool = True) -> Future[Taken]:
        """Have an executor wait for work, and end it, unless it is to go on."""
        taken = self.threads.submit(self._take, executor, end)
        time.sleep(READY_S)
        return taken

    def _take(self, executor: Member, end: bool) -> Taken:
        deadline = time.monotonic() + FIRST_S
        asked = {"colonyname": self.site.name, "timeout": POLL_S}
        while time.monotonic() < deadline and not self.over:
            said = self.site.line.ask(executor, "assignprocessmsg", **asked)
            taken_ns = time.perf_counter_ns()
            if said.status != 404:
                process_id = said.granted["processid"]
                if end:
                    ended = {"processid": process_id, "out": list[Any]()}
                    self.site.line.ask(executor, "closesuccessfulmsg", **ended).granted  # noqa: B018
                return Taken(process_id, taken_ns)
        raise RuntimeError("nothing was submitted")


@contextmanager
def desk(bed: Bed) -> Generator[Desk]:
    """All of it, for the length of the block."""
    site = colony.site()
    sandbox = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    try:
        with ThreadPoolExecutor(1) as threads:
            made = Desk(bed, site, sandbox, threads)
            try:
                yield made
            finally:
                made.over = True
    finally:
        sandbox.close()
        site.tidy()


def ours(made: Desk, project: Project, *, edit: bool = True) -> Callable[[], Measured]:
    """From the start of ``pollinator run`` until the executor has the process."""

    def measure() -> Measured:
        if edit:
            project.edit()
        taken = made.waits(project.executor)
        started_ns = time.perf_counter_ns()
        ended = made.sandbox.cli("run", cwd=project.root)
        if ended.returncode:
            raise RuntimeError(ended.stderr.decode())
        took_ns = taken.result().at_ns - started_ns
        # What comes home afterwards must be in nobody's way.
        made.sandbox.cli("wait", ended.stdout.decode().strip(), cwd=project.root, timeout=FIRST_S)
        return Measured(took_ns / 1e6)

    return measure


def original(made: Desk, program: str, project: Project, *, edit: bool = True) -> Callable[[], Measured]:
    """The same by the original program."""

    def measure() -> Measured:
        if edit:
            project.edit()
        taken = made.waits(project.executor)
        started_ns = time.perf_counter_ns()
        run([program, "run"], made.sandbox.env, project.root)
        return Measured((taken.result().at_ns - started_ns) / 1e6)

    return measure


def snapshot(made: Desk, project: Project) -> Callable[[], Measured]:
    """What the server takes for a snapshot of the files, whoever asks for it."""

    async def take() -> Measured:
        client = Client(made.site.seen_by(made.user))
        try:
            started_ns = time.perf_counter_ns()
            taken = await client.create_snapshot(label_of(project.name, "src"), unique_id())
            took_ns = time.perf_counter_ns() - started_ns
            await client.remove_snapshot(taken.id)
        finally:
            await client.close()
        return Measured(took_ns / 1e6)

    return lambda: asyncio.run(take())


def named(way: str, bound: Bound) -> Bound:
    """A bound of one of our two ways."""
    return replace(bound, text=f"{way}: {bound.text}")


def colony_run(bed: Bed) -> Row:
    """A one-line edit of many files, and a run of them in a colony."""
    program = colony.original()
    with desk(bed) as made:
        public = made.project(made.public)
        contenders = {
            TO_OURS: ours(made, made.project(made.ours)),
            TO_PUBLIC: ours(made, public),
            AGAIN: ours(made, public, edit=False),
            SNAPSHOT: snapshot(made, public),
        }
        if program is not None:
            peer = made.project(made.public)
            contenders[PEER] = original(made, program, peer)
            contenders[PEER_AGAIN] = original(made, program, peer, edit=False)
        samples = bed.interleave(contenders)
    bounds: list[Bound] = []
    notes = [
        f"nobody else may wait for processes of the type {TYPE} meanwhile, which is that of the original"
    ]
    if program is not None:
        bounds = [
            named("executor of ours", ratio(samples, TO_OURS, PEER, 0.1)),
            named("public executor", ratio(samples, TO_PUBLIC, PEER, 1.0)),
            named("public executor", ratio(samples, AGAIN, PEER_AGAIN, 0.5)),
        ]
    else:
        notes.append(f"the original was not measured: {colony.ORIGINAL} names no program")
    work = (
        f"from `run` after a one-line edit of {FILES:,} files until an executor of a colony has the process"
    )
    return Row("colony-run", work, samples, bounds, notes)
