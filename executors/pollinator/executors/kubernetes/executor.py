"""Runs as Jobs of a Kubernetes cluster.

What the host calls only notes a wish and reads what is known: the journals that the nodes of a run keep, and
what the cluster told last. Everything that asks the cluster is done by tasks of ``serve``, so that an API
that is down holds nobody up.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, Self

import yaml

from pollinator.chunks.store import Store
from pollinator.executors.base import Executor, Fetched, Job, Observation, Preview, Tell
from pollinator.executors.kubernetes.api import Api
from pollinator.executors.kubernetes.asking import Asking
from pollinator.executors.kubernetes.bucket import Bucket
from pollinator.executors.kubernetes.data import STOP, Data
from pollinator.executors.kubernetes.handover import NUMBER, Handover
from pollinator.executors.kubernetes.manifest import Wish, gpu_of, image_of, job_manifest
from pollinator.executors.kubernetes.naming import EXECUTOR, identity
from pollinator.executors.kubernetes.observing import Observing
from pollinator.executors.kubernetes.offer import Offer
from pollinator.executors.kubernetes.settings import Site, read_settings
from pollinator.executors.kubernetes.submission import Submission
from pollinator.executors.kubernetes.volume import Volume, mount_of
from pollinator.executors.kubernetes.watcher import Watcher
from pollinator.executors.ports import free_port
from pollinator.v1.colony_pb2 import Colony
from pollinator.v1.executor_pb2 import Capabilities
from pollinator.v1.run_pb2 import Notice, PendingReason, Severity
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.cluster import Cluster, Where
from pollinator.wire.errors import InvalidInput, Violation

GRACE_MS = 5000
PREVIEW = "run"
"""Stands for the run's id where there is no run yet."""
ORPHANS_S = 60.0
FIRST_ORPHANS_S = 15.0
_RUN_ID = re.compile(r"[0-9A-Za-z]{1,64}")
_log = logging.getLogger(__name__)


class KubernetesExecutor(Executor):
    """Hands runs over to Kubernetes.

    Args:
        cluster: the line to it.
        state: where the runs are.
        site: what the settings say.
        data: how files come into pods.
    """

    kind = "kubernetes"
    needs_locks = False

    def __init__(self, cluster: Cluster, state: Path, site: Site, data: Data) -> None:
        self._cluster = cluster
        self._state = state
        self._site = site
        self._data = data
        self.stages = data.stages
        self._id = identity(state)
        self._runs: dict[str, Handover] = {}
        self._ports: dict[str, int] = {}
        api = Api(cluster, f"{EXECUTOR}={self._id}")
        self._api = api
        self._watcher = Watcher(api, self._is_awaited)
        self._offer = Offer(api, site)
        self._submission = Submission(api, self._watcher, data, self._wish, self._manifest, self._id)
        self._observing = Observing(self._watcher, self._submission, self._offer, site, _grace_ms() / 1000)
        self._asking = Asking(api, self._watcher, site, self._observing.waiting)

    @classmethod
    def create(cls, state: Path, settings: Mapping[str, str]) -> Self:
        """One that keeps what it knows below ``state``."""
        site = read_settings(settings)
        cluster = Cluster(Where(site.kubeconfig, site.context, site.namespace))
        if site.bucket:
            return cls(cluster, state, site, Bucket(cluster, site, identity(state), _grace_ms() / 1000))
        return cls(cluster, state, site, _data(site, state))

    async def serve(self) -> None:
        """Submit, tell, end and follow Jobs."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watcher.run(), name="watch")
                group.create_task(self._submission.run(), name="submission")
                group.create_task(self._offer.run(), name="offer")
                group.create_task(self._asking.run(), name="asking")
                group.create_task(self._data.serve(), name="data")
                group.create_task(self._observing.look(), name="pods")
                group.create_task(self._end_orphans(), name="orphans")
        finally:
            _log.info("asked of the cluster: %s", json.dumps(self._api.asked, sort_keys=True))
            await self._cluster.close()

    # What there is

    def capabilities(self) -> Capabilities:
        """What the cluster offers."""
        found = self._offer.capabilities()
        found.memory_source = self._observing.memory_source
        found.features.extend(["memory_limit", "time_limit", "cancel", "secrets", "containers"])
        return found

    def preflight(self, spec: RunSpec) -> list[Notice]:
        """Refuse what no node takes, and what cannot be written down."""
        wrong: list[Violation] = []
        gpu = None
        try:
            image_of(spec, self._site)
        except InvalidInput as error:
            wrong += error.violations
        try:
            gpu = gpu_of(spec, self._site)
        except InvalidInput as error:
            wrong += error.violations
        wrong += self._offer.wrong(spec, gpu)
        if spec.engine == "none":
            wrong.append(Violation("environment.engine", "a cluster runs images only; take it out"))
        if wrong:
            raise InvalidInput(
                "this run cannot run in this cluster",
                reason="cannot_run_here",
                hint="change the settings, or name another executor: pollinator executors",
                violations=wrong,
            )
        if not spec.engine:
            return []
        text = f"environment.engine ({spec.engine}) is left out: the cluster has its own"
        return [Notice(severity=Severity.SEVERITY_WARNING, code="engine_ignored", text=text)]

    async def preview(self, spec: RunSpec, colony: Colony, *, script: bool, estimate: bool) -> Preview:
        """The Job as it would be made."""
        if not script:
            return Preview()
        job = Job(PREVIEW, spec, self._state / "runs" / PREVIEW)
        wish = Wish(job, 1, self._id, free_port(self._ports.values()), _grace_ms(), {})
        return Preview(yaml.safe_dump(self._manifest(wish), sort_keys=False, width=120))

    async def explain(
        self, job: Job, pending: PendingReason | None, *, estimate: bool
    ) -> PendingReason | None:
        """Why it waits, as it is known now."""
        run = self._runs.get(job.run_id)
        if pending is None or run is None:
            return pending
        return self._observing.pending(run)

    # Runs

    async def stage(self, job: Job, store: Store, tell: Tell) -> list[Notice]:
        """Have its files where pods find them, where they see no folder of ours."""
        return await self._data.stage(job, store, tell)

    async def fetch(self, job: Job, tell: Tell) -> Fetched:
        """Bring its results, where they are not here."""
        return await self._data.fetch(job, tell)

    def submit(self, job: Job, secrets: dict[str, str]) -> None:
        """Note that it is to be handed over, or that it was."""
        if job.run_id in self._runs and self._runs[job.run_id].submitted:
            return
        run = self._run(job)
        run.submitted, run.secrets = True, secrets
        record = run.record
        if record is not None and not run.may_go_on(record):
            return
        job.output.mkdir(mode=0o700, exist_ok=True)
        if record is None:
            self._submission.submit(run)

    def observe(self, job: Job) -> Observation:
        """By what its nodes wrote down, and by what the cluster told last."""
        return self._observing.observe(self._run(job))

    def cancel(self, job: Job) -> None:
        """Tell its supervisors; the rest follows."""
        run = self._run(job)
        run.cancel()
        if run.intent.since:
            self._submission.tell(run, STOP, "cancelled")

    def forget(self, job: Job) -> None:
        """Have its Job end: what it left is safe."""
        if job.run_id not in self._runs and not (job.workspace / NUMBER).exists():
            return
        run = self._run(job)
        run.left = True
        run.wished.set()
        self._submission.delete(run.uid, run.name)
        self._data.forget(job)
        self._watcher.forget(job.run_id)
        self._observing.forget(run)
        self._ports.pop(job.run_id, None)
        del self._runs[job.run_id]

    def _run(self, job: Job) -> Handover:
        """What is known of it, after a restart as well."""
        if job.run_id not in self._runs:
            self._runs[job.run_id] = Handover(job, self._data)
            self._observing.follow(self._runs[job.run_id])
        # It comes with other credentials from time to time.
        self._runs[job.run_id].job = job
        return self._runs[job.run_id]

    # What is handed over

    def _wish(self, run: Handover) -> Wish:
        job = run.job
        if job.run_id not in self._ports:
            self._ports[job.run_id] = free_port(self._ports.values())
        port = self._ports[job.run_id]
        return Wish(job, run.attempt, self._id, port, _grace_ms(), run.secrets)

    def _manifest(self, wish: Wish) -> dict[str, object]:
        return job_manifest(wish, self._site, self._data.parts(wish.job, wish.attempt))

    # What nobody needs any more

    async def _end_orphans(self) -> NoReturn:
        """End Jobs of ours whose runs are over: we may have been killed before we could."""
        pause_s = FIRST_ORPHANS_S
        while True:
            await asyncio.sleep(pause_s)
            pause_s = ORPHANS_S
            if not self._watcher.knows or self._watcher.trouble is not None:
                continue
            for each in list(self._watcher.jobs().values()):
                if not each.deleting and self._is_orphan(each.run, each.attempt):
                    _log.warning("Job %s is of no run; it is deleted", each.name)
                    self._submission.delete(each.uid, each.name)

    def _is_orphan(self, run_id: str, attempt: int) -> bool:
        run = self._runs.get(run_id)
        return attempt < run.attempt if run is not None else not self._is_awaited(run_id)

    def _is_awaited(self, run_id: str) -> bool:
        if run_id in self._runs:
            return True
        # As long as a run has not ended its way to the store is kept.
        private = self._state / "runs" / run_id / "private.pb"
        return bool(_RUN_ID.fullmatch(run_id)) and private.exists()


def _grace_ms() -> int:
    return int(os.environ.get("POLLINATOR_GRACE_MS", GRACE_MS))


def _data(site: Site, state: Path) -> Data:
    """How files come into pods.

    Raises:
        InvalidInput: nothing says how.
    """
    if not site.claim:
        text = "name the claim of the volume that holds this executor's state, or set kubernetes.data=bucket"
        raise _bad("kubernetes.claim", text)
    mount = site.mount or mount_of(state)
    if not state.resolve().is_relative_to(mount.resolve()):
        raise _bad("kubernetes.mount", f"the executor's state, {state}, is not below {mount}")
    return Volume(site.claim, mount, state, site.user, site.group)


def _bad(setting: str, text: str) -> InvalidInput:
    return InvalidInput(
        "a setting cannot be meant", reason="bad_settings", violations=[Violation(setting, text)]
    )
