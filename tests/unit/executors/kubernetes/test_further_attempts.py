"""A further attempt waits for what the pods before it still store: alone, in words, and not for ever."""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pollinator.executors.base import Job
from pollinator.executors.kubernetes import bucket as bucket_module
from pollinator.executors.kubernetes import observing, relay, submission
from pollinator.executors.kubernetes.bucket import Bucket
from pollinator.executors.kubernetes.credentials import Issued, Owner
from pollinator.executors.kubernetes.executor import KubernetesExecutor
from pollinator.executors.kubernetes.settings import Site
from pollinator.executors.records import attempts, write_json
from pollinator.v1.run_pb2 import RunState, SnapshotSource
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.store_pb2 import FolderStore, StoreSettings
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import NeedsLogin, PollinatorError, Unavailable
from support.cluster_api import Api, serving
from support.kubeconfigs import line

LISTS = {"jobs": "/apis/batch/v1/namespaces/runs/jobs", "pods": "/api/v1/namespaces/runs/pods"}
SITE = Site(image="example.org/ranks:1", executor_image="example.org/pollinator:1", bucket=True)
UID = "00000000-aaaa-4bbb-8ccc-000000000000"
POD: dict[str, Any] = {
    "metadata": {
        "name": "p",
        "uid": UID,
        "annotations": {"pollinator.io/run-id": "again"},
        "labels": {"pollinator.io/attempt": "1"},
    },
    "spec": {"nodeName": "n1"},
    "status": {
        "phase": "Running",
        "containerStatuses": [{"name": "ranks", "state": {"terminated": {"exitCode": 0}}}],
    },
}


class Place:
    """A cluster in which a pod of the run's first attempt is still there, and an executor."""

    def __init__(self, folder: Path, api: Api) -> None:
        self.folder = folder
        self._api = api
        self._gone = asyncio.Event()
        (folder / "store").mkdir()
        for name, path in LISTS.items():
            api.answers[f"GET {path}"] = self._watched if name == "pods" else self._silent
            api.answers[f"POST {path}"] = self._made
        api.answers["POST /api/v1/namespaces/runs/secrets"] = self._made

    def job(self, name: str, earlier: int = 0) -> Job:
        """A run with so many attempts before."""
        spec = RunSpec(project="demo", nodes=1, processes_per_node=1, command="x", requeue=True)
        ref = SnapshotRef(key="s/00/" + "0" * 64, digest=b"x")
        store = StoreSettings(folder=FolderStore(path=str(self.folder / "store")))
        source = SnapshotSource(run_id=name, snapshot=ref, store=store, spec=spec)
        job = Job(name, spec, self.folder / "runs" / name, source)
        job.workspace.mkdir(parents=True)
        for number in range(earlier):
            write_json(job.workspace / f"attempt.{number + 1}.json", {"reason": "time_limit"})
        return job

    def made(self) -> int:
        """How many Jobs were asked for."""
        return sum(each.startswith(f"POST {LISTS['jobs']}") for each in self._api.asked)

    def remove_pod(self) -> None:
        """It is not there any more."""
        self._gone.set()

    def forget_token(self, config: str) -> None:
        """It is not good any more, and the kubeconfig, where another would be found, says this."""
        self._api.tokens = {"another"}
        (self.folder / "config").write_text(config)

    async def _silent(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})
        await asyncio.sleep(600)
        raise AssertionError

    async def _watched(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [POD]})
        response = web.StreamResponse()
        await response.prepare(request)
        await self._gone.wait()
        await response.write(json.dumps({"type": "DELETED", "object": POD}).encode() + b"\n")
        await asyncio.sleep(600)
        raise AssertionError

    async def _made(self, request: web.Request) -> web.Response:
        made: dict[str, Any] = await request.json()
        return web.json_response(made | {"metadata": made["metadata"] | {"uid": "new"}}, status=201)


@pytest.fixture
async def begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Place, KubernetesExecutor, Job]]:
    """Such a place, where the second attempt is to be handed over, one at a time."""

    def issue(source: SnapshotSource, owner: Owner) -> Issued:
        return Issued(StoreSettings(), math.inf)

    monkeypatch.setattr(bucket_module, "issue", issue)
    monkeypatch.setattr(submission, "AT_A_TIME", 1)
    monkeypatch.setattr(observing, "PODS_LOOK_S", 0.02)
    monkeypatch.setattr(relay, "LOOK_S", 0.05)
    monkeypatch.setattr(relay, "AGAIN_S", (0.02, 0.1))
    async with (
        serving() as api,
        line(tmp_path / "config", api.url, {"token": "t"}, namespace="runs") as cluster,
    ):
        place = Place(tmp_path, api)
        executor = KubernetesExecutor(cluster, tmp_path, SITE, Bucket(cluster, SITE, "me", 5.0))
        job = place.job("again", earlier=1)
        known = {"attempt": 1, "node": 0, "ended": True, "gone": False}
        write_json(job.workspace / relay.SEEN, {UID: known})
        async with asyncio.TaskGroup() as group:
            task = group.create_task(executor.serve())
            executor.submit(job, {})
            await until(lambda: waits_for(executor, job) == "earlier_attempt")
            yield place, executor, job
            task.cancel()


def waits_for(executor: KubernetesExecutor, job: Job) -> str:
    pending = executor.observe(job).pending
    return pending.code if pending is not None else ""


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


Begun = tuple[Place, KubernetesExecutor, Job]


async def test_it_takes_no_turn_and_no_node_until_the_pod_before_is_gone(begun: Begun) -> None:
    place, executor, job = begun
    executor.submit(place.job("other"), {})
    await until(lambda: place.made() == 1)
    assert "earlier_attempt" == waits_for(executor, job)
    place.remove_pod()
    await until(lambda: place.made() == 2)

    assert 1 == attempts(job.workspace)


async def test_a_wish_to_end_the_run_is_not_kept_waiting(begun: Begun) -> None:
    place, executor, job = begun
    executor.cancel(job)
    await until(lambda: executor.observe(job).state == RunState.RUN_STATE_CANCELLED)

    assert 0 == place.made()


async def test_a_store_that_does_not_answer_is_said_and_not_the_cluster(begun: Begun) -> None:
    place, executor, job = begun
    os.rename(place.folder / "store", place.folder / "moved")
    (place.folder / "store").symlink_to("store")

    def words() -> str:
        pending = executor.observe(job).pending
        assert pending is not None
        assert "earlier_attempt" == pending.code
        return pending.text

    await until(lambda: str(place.folder / "store") in words())
    (place.folder / "store").unlink()
    os.rename(place.folder / "moved", place.folder / "store")
    await until(lambda: words().endswith("stored"))
    assert 0 == place.made()


@pytest.mark.parametrize(
    ("kind", "hint", "what_to_do"),
    [(Unavailable, "", "wait: it is asked again"), (NeedsLogin, "renew them", "renew them")],
)
async def test_credentials_that_a_store_does_not_issue_are_not_the_clusters_doing(
    begun: Begun, monkeypatch: pytest.MonkeyPatch, kind: type[PollinatorError], hint: str, what_to_do: str
) -> None:
    def issue(source: SnapshotSource, owner: Owner) -> Issued:
        raise kind("it issues none", reason="of_a_store", hint=hint)

    monkeypatch.setattr(bucket_module, "issue", issue)
    place, executor, _ = begun
    other = place.job("other")
    executor.submit(other, {})
    await until(lambda: waits_for(executor, other) == "store_unreachable")
    pending = executor.observe(other).pending

    assert pending is not None
    assert (True, what_to_do) == (pending.text.endswith(": it issues none"), pending.action)
    assert 1 == place.made()


@pytest.mark.parametrize("broken", ["no: [yaml", "{}"])
async def test_a_kubeconfig_that_cannot_be_read_any_more_is_not_the_stores_doing(
    begun: Begun, broken: str
) -> None:
    place, executor, _ = begun
    place.forget_token(broken)
    other = place.job("other")
    executor.submit(other, {})
    await until(lambda: waits_for(executor, other) != "handing_over")
    pending = executor.observe(other).pending

    assert pending is not None
    assert ("api_unreachable", True) == (pending.code, str(place.folder / "config") in pending.text)


async def test_it_does_not_wait_for_ever(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "EARLIER_S", 0.1)
    await until(lambda: begun[0].made() == 1)
