"""Runs that go to a colony of a Colonies server.

What the host calls only notes a wish and reads what is known. Everything that asks a server is done by tasks
of ``serve``, so that a server that is down holds nobody up.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, Self

from pollinator.chunks.store import Store
from pollinator.executors.base import Executor, Fetched, Job, Observation, Preview, Tell, check_settings
from pollinator.executors.colonies.delivery import fetch, release, stage, stored_of
from pollinator.executors.colonies.following import Following
from pollinator.executors.colonies.funcspec import Mount, Target, function_spec, label_of
from pollinator.executors.colonies.handover import CANCEL, Handover, Staged
from pollinator.executors.colonies.line import Line, Lines, check_files
from pollinator.executors.colonies.submission import hand_over
from pollinator.executors.colonies.targets import choose
from pollinator.v1.colony_pb2 import Colony
from pollinator.v1.executor_pb2 import Capabilities
from pollinator.v1.run_pb2 import Notice, Severity
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import InvalidInput, PollinatorError, Violation

SURVEY_S = 10.0
"""So long whoever submits a run waits for what the colony says of it."""
AGAIN_S = 2.0
PREVIEW = "RUNTHATISNOTTHERE"
RUN, SNAPSHOT, CONTENT = "<run>", "<snapshot>", "<content>"
"""Stand for ids where there is no run yet; the first of them only once the command is written."""

_log = logging.getLogger(__name__)


class ColoniesExecutor(Executor):
    """Hands runs over to colonies, each run to the one that it names.

    Args:
        state: a folder for what is known of the colonies' files.
    """

    kind = "colonies"
    stages = True

    def __init__(self, state: Path) -> None:
        self._lines = Lines(state)
        self._runs: dict[str, tuple[Handover, Line]] = {}
        self._following = Following(lambda: len(self._runs))
        self._waiting: list[tuple[Handover, Line]] = []
        self._leaving: list[tuple[Handover, Line]] = []
        self._wake = asyncio.Event()
        self._memory_source = ""
        """How memory was held where a run was last, if that was told."""

    @classmethod
    def create(cls, state: Path, settings: Mapping[str, str]) -> Self:
        """One for all colonies of this user."""
        check_settings(settings, ())
        return cls(state)

    async def serve(self) -> NoReturn:
        """Submit runs, follow them, and tidy up behind them."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    while self._waiting:
                        run, line = self._waiting.pop(0)
                        group.create_task(self._live(run, line), name=f"colony {run.job.run_id}")
                    while self._leaving:
                        run, line = self._leaving.pop(0)
                        group.create_task(self._leave(run, line), name=f"leave {run.job.run_id}")
        finally:
            await self._lines.close()
        raise AssertionError("it goes on until it is cancelled")

    def capabilities(self) -> Capabilities:
        """What is the same for all colonies."""
        return Capabilities(
            features=["memory_limit", "time_limit", "cancel"], memory_source=self._memory_source
        )

    # What would become of a run

    def preflight(self, spec: RunSpec) -> list[Notice]:
        """Nothing can be said before the colony is known."""
        return []

    async def survey(self, spec: RunSpec, colony: Colony, secrets: Collection[str]) -> list[Notice]:
        """Refuse what nobody in the colony can run; one that does not answer is taken to have somebody."""
        if not colony.name:
            raise InvalidInput(
                "there is no colony",
                reason="colony_missing",
                hint="set COLONIES_SERVER_HOST and the variables that go with it: docs/colonies.md",
            )
        check_files(colony)
        if secrets:
            raise InvalidInput(
                "secrets cannot be handed over to a colony: all its members see what a process is given",
                reason="secrets_not_kept",
                violations=[Violation(f"secrets.{name}", "would be seen by others") for name in secrets],
            )
        line = self._lines.of(colony)
        try:
            async with asyncio.timeout(SURVEY_S):
                executors = await line.client.executors()
        except (PollinatorError, TimeoutError) as error:
            if isinstance(error, PollinatorError) and not error.retryable:
                raise
            text = f"the Colonies server at {line.client.rpc.server} does not answer: the run waits for it"
            return [Notice(severity=Severity.SEVERITY_WARNING, code="colony_down", text=text)]
        return list(choose(spec, colony.name, executors, datetime.now(UTC)).notices)

    async def preview(self, spec: RunSpec, colony: Colony, *, script: bool, estimate: bool) -> Preview:
        """The function spec; nobody knows when somebody will take it."""
        if not script:
            return Preview()
        executors = await self._lines.of(colony).client.executors()
        choice = choose(spec, colony.name, executors, datetime.now(UTC))
        target = Target(
            colony.name,
            PREVIEW,
            choice.names,
            choice.type,
            choice.location,
            choice.ours,
            Mount(label_of(spec.project, "src"), SNAPSHOT),
            Mount(label_of(spec.project, "data"), SNAPSHOT, CONTENT),
        )
        text = json.dumps(function_spec(spec, target), indent=4, ensure_ascii=False)
        return Preview(text.replace(PREVIEW, RUN))

    # Runs

    async def stage(self, job: Job, store: Store, tell: Tell) -> list[Notice]:
        """Take the files to the colony, unless who runs it finds them where they are."""
        run, line = self._run(job)
        return list(await stage(run, line, store, self._lines.threads, tell))

    async def fetch(self, job: Job, tell: Tell) -> Fetched:
        """Bring what was left in the colony."""
        run, line = self._run(job)
        return await fetch(run, line, tell)

    def submit(self, job: Job, secrets: dict[str, str]) -> None:
        """Note that it is to be handed over and followed."""
        run, line = self._run(job)
        job.output.mkdir(mode=0o700, exist_ok=True)
        if run.ended is None:
            self._waiting.append((run, line))
            self._wake.set()

    def observe(self, job: Job) -> Observation:
        """As was heard last."""
        seen = self._run(job)[0].observation()
        if seen.usage is not None:
            self._memory_source = seen.usage.memory_source or self._memory_source
        return seen

    def cancel(self, job: Job) -> None:
        """Have its process ended."""
        (job.workspace / CANCEL).touch()
        self._run(job)[0].cancel_wished.set()

    def forget(self, job: Job) -> None:
        """Its snapshots are not needed any more."""
        known = self._runs.pop(job.run_id, None)
        try:
            # Whoever is killed before these are removed has no more keys for the colony.
            self._lines.let_go(job.run_id)
        except PollinatorError as error:
            _log.warning("run %s: its snapshots stay in the colony: %s", job.run_id, error.message)
        if known is not None:
            self._leaving.append(known)
            self._wake.set()

    def _run(self, job: Job) -> tuple[Handover, Line]:
        """What is known of it, after a restart as well."""
        if job.run_id not in self._runs:
            self._runs[job.run_id] = Handover(job), self._lines.of(job.source.colony)
        return self._runs[job.run_id]

    async def _live(self, run: Handover, line: Line) -> None:
        """Bring a run to its end, from wherever it is."""
        while run.ended is None:
            try:
                await hand_over(run, line.client, self._function_spec)
                if run.ended is None:
                    await self._following.follow(run, line)
            except Exception:  # noqa: BLE001 - the root of one run: a defect it meets must not end the others
                _log.exception("run %s: trying again", run.job.run_id)
                await asyncio.sleep(AGAIN_S)

    async def _leave(self, run: Handover, line: Line) -> None:
        try:
            await release(run, line)
        except PollinatorError as error:
            _log.warning("run %s: what nobody needs stays in the colony: %s", run.job.run_id, error.message)

    def _function_spec(self, run: Handover) -> Mapping[str, Any]:
        source = run.job.source
        staged = run.staged
        assert isinstance(staged, Staged)
        here = stored_of(source) if staged.ours else None
        return function_spec(
            run.job.spec,
            Target(
                source.colony.name,
                run.job.run_id,
                staged.names,
                staged.type,
                staged.location,
                staged.ours,
                staged.src,
                staged.data,
                here,
            ),
        )
