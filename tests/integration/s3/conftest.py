"""Fixtures that every test of a real S3 server shares."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from pollinator.chunks.store import Store
from pollinator.chunks.stores import open_store
from pollinator.v1.store_pb2 import StoreSettings
from support.s3_servers import S3Server

PLAIN = ["rclone_s3", "ceph_s3"]
TLS = ["rclone_s3_tls", "ceph_s3_tls"]
Opener = Callable[[StoreSettings], Store]


def _server(request: pytest.FixtureRequest) -> S3Server:
    found: S3Server = request.getfixturevalue(request.param)
    return found


# Each server in turn, as one parameter of a test.
server = pytest.fixture(_server, params=PLAIN, name="server")
tls_server = pytest.fixture(_server, params=TLS, name="tls_server")
any_server = pytest.fixture(_server, params=PLAIN + TLS, name="any_server")


@pytest.fixture
def project() -> str:
    """A name no other test has used."""
    return f"demo-{secrets.token_hex(6)}"


@pytest.fixture
def opened(project: str) -> Iterator[Opener]:
    """Opens stores of the project and closes them."""
    stores: list[Store] = []

    def open_one(settings: StoreSettings) -> Store:
        stores.append(open_store(settings, project))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()
