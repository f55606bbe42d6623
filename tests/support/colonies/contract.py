"""The colony on which the contract suite runs: our local executor serves it, and both reach one bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from pollinator.chunks.store import Store
from pollinator.chunks.stores import open_store
from pollinator.v1.colony_pb2 import Colony
from pollinator.v1.executor_pb2 import PreflightRequest
from pollinator.v1.run_pb2 import SnapshotSource, StartRunRequest
from pollinator.v1.store_pb2 import StoreSettings
from support.colonies.sites import bucket_of, some_site
from support.colony_site import Serving, serving

KIND = "colonies"
"""Names of profiles that need it begin so."""


@dataclass(frozen=True)
class _There:
    colony: Colony
    serving: Serving
    store: StoreSettings


_there: list[_There] = []


def prepare(request: StartRunRequest | PreflightRequest) -> None:
    """Have a run go to the colony, and be taken by the executor that serves it."""
    asked: SnapshotSource | PreflightRequest
    if isinstance(request, PreflightRequest):
        asked = request
    elif request.WhichOneof("what") == "snapshot":
        asked = request.snapshot
        if asked.store.HasField("own"):
            asked.store.CopyFrom(_there[0].store)
    else:
        return
    asked.colony.CopyFrom(_there[0].colony)
    if not asked.spec.executor_names:
        asked.spec.executor_names.append(_there[0].serving.name)


def process_id(run: str) -> str:
    """The process that a run became."""
    asked = {"count": 1, "state": 2, "executortype": "", "initiator": "", "label": f"pollinator-{run}"}
    (process,) = _there[0].serving.site.look("getprocessesmsg", **asked)
    return str(process["processid"])


def store(project: str) -> Store:
    """Where runs have their snapshots and results."""
    (there,) = _there
    return open_store(there.store, project)


@pytest.fixture(scope="session", autouse=True)
def _colony_of_contract(request: pytest.FixtureRequest) -> Iterator[None]:
    if not any(_needs(item) for item in request.session.items):
        yield
        return
    with ExitStack() as stack:
        site = stack.enter_context(some_site())
        bucket = bucket_of(site, request)
        settings = ("containers.engines=none", "colonies.processes=16")
        serves = stack.enter_context(serving(site, "local", *settings, **bucket.environment()))
        serves.identity()
        colony = site.seen_by(site.user(), bucket.settings().s3)
        _there.append(_There(colony, serves, bucket.settings()))
        yield
        _there.clear()
        if site.is_real:
            site.tidy()


def _needs(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and any(str(each).startswith(KIND) for each in callspec.params.values())
