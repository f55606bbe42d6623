"""Objects that are put twice, on a server that knows conditions and on one that ignores them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pollinator.chunks.digest import digest_of
from pollinator.chunks.keys import pack_key
from pollinator.chunks.store import Store
from pollinator.v1.store_pb2 import StoreSettings
from support.s3_servers import S3Server
from support.sandbox import wait_until

pytestmark = pytest.mark.integration

KEY = pack_key("p", digest_of(b"object"))
DATA = b"object" * 1000


def test_writing_twice_is_harmless(
    server: S3Server, opened: Callable[[StoreSettings], Store], project: str
) -> None:
    store = opened(server.settings())
    store.put(KEY, DATA)
    store.put(KEY, DATA)

    assert store.get(KEY) == DATA


def test_what_is_there_and_is_something_else_is_replaced(
    server: S3Server, opened: Callable[[StoreSettings], Store], project: str
) -> None:
    server.put(f"pollinator/{project}/{KEY}", b"something else")
    store = opened(server.settings())
    store.put(KEY, DATA)

    assert store.get(KEY) == DATA


def test_where_conditions_are_known_what_was_just_put_is_not_written_over(
    ceph_s3: S3Server, opened: Callable[[StoreSettings], Store], project: str
) -> None:
    store = opened(ceph_s3.settings())
    store.put(KEY, DATA)
    first = ceph_s3.stored_at(f"pollinator/{project}/{KEY}")
    other = f"pollinator/{project}/later"

    def later() -> bool:
        ceph_s3.put(other, b"")
        return ceph_s3.stored_at(other) > first

    wait_until(later, "the server's clock goes on")
    store.put(KEY, DATA)

    assert first == ceph_s3.stored_at(f"pollinator/{project}/{KEY}")
