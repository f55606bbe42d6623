"""A bucket for runs of a cluster whose pods share no volume with the executor, on this machine."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress

import pytest

from pollinator.chunks.store import Store
from pollinator.chunks.stores import open_store
from pollinator.v1.executor_pb2 import PreflightRequest
from pollinator.v1.run_pb2 import StartRunRequest
from pollinator.v1.store_pb2 import StoreSettings
from support import kubernetes_of_contract
from support.kubernetes.sites import Site, executors_image, named
from support.s3_servers import S3Server

NAME = "kubernetes-bucket"
"""Of the profile."""
KEYS = "bucket-keys"
"""A Secret with keys for the bucket, where its server issues none that are limited."""
_there: list[S3Server] = []


def settings_of(site: Site, server: S3Server, *, keys: bool) -> dict[str, str]:
    """What an executor is told whose pods share no volume with it.

    Args:
        site: where its pods are.
        server: of the bucket.
        keys: pods get those of a Secret.
    """
    if keys:
        data = {"access_key": server.access_key, "secret_key": server.secret_key}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": KEYS},
            "data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items()},
        }
        if site.find("secrets", KEYS) is None:
            site.create(secret)
    return {
        "kubernetes.data": "bucket",
        "kubernetes.image": site.image,
        **_beside(site, server),
        **({"kubernetes.credentials": KEYS} if keys else {}),
    }


def _beside(site: Site, server: S3Server) -> dict[str, str]:
    """What runs beside the ranks, and where it reaches the bucket."""
    if site.there is not None:
        # A container is a process of this machine, with its files and its loopback: so is this Python.
        program = {"kubernetes.executor_image": site.image, "kubernetes.python": sys.executable}
        return {**program, "kubernetes.endpoint": server.endpoint}
    host = named("HOST", "where pods reach this machine")
    endpoint = server.endpoint.replace("//127.0.0.1:", f"//{host}:")
    return {"kubernetes.executor_image": executors_image(), "kubernetes.endpoint": endpoint}


def settings() -> Mapping[str, str]:
    """The same for the contract suite."""
    return settings_of(kubernetes_of_contract.site(), _there[0], keys=True)


def put_into(store: StoreSettings, request: StartRunRequest | PreflightRequest) -> None:
    """Have a run's files in a bucket that would be beside the executor."""
    if isinstance(request, StartRunRequest) and request.snapshot.store.HasField("own"):
        request.snapshot.store.CopyFrom(store)


def prepare(request: StartRunRequest | PreflightRequest) -> None:
    """The same for the contract suite."""
    put_into(_there[0].settings(), request)


def store(project: str) -> Store:
    """Where runs of the contract suite have their snapshots and results."""
    return open_store(_there[0].settings(), project)


@pytest.fixture(scope="session", autouse=True)
def _bucket_of_contract(request: pytest.FixtureRequest) -> Iterator[None]:
    if any(_needs(item) for item in request.session.items):
        with suppress(pytest.skip.Exception):
            # Without it the tests are skipped one by one.
            _there.append(request.getfixturevalue("rclone_s3"))
    yield
    _there.clear()


def _needs(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and NAME in callspec.params.values()
