"""How stores are remembered."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.v1.store_pb2 import S3Store, StoreSettings
from pollinator.wire.errors import NeedsLogin


def by_key(key: str) -> StoreSettings:
    return StoreSettings(s3=S3Store(endpoint="http://h:1", bucket="b", access_key=key, secret_key="secret"))


def test_a_store_is_remembered_with_its_keys_in_a_private_file(tmp_path: Path) -> None:
    store_id, _ = StoreKeeper(tmp_path / "stores").open(by_key("KEYKEY"), "demo")

    assert StoreKeeper(tmp_path / "stores").settings(store_id) == by_key("KEYKEY")
    assert stat.S_IMODE((tmp_path / "stores" / store_id).stat().st_mode) == 0o600


def test_one_store_can_be_opened_for_many_at_once(tmp_path: Path) -> None:
    keeper = StoreKeeper(tmp_path / "stores")

    def open_one(at: int) -> str:
        return keeper.open(by_key(f"KEY{at % 7}"), "demo")[0]

    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(open_one, range(400)))

    assert len(set(opened)) == 1
    assert [path.name for path in (tmp_path / "stores").iterdir()] == opened[:1]
    assert keeper.settings(opened[0]).s3.access_key.startswith("KEY")


def test_a_store_nobody_has_opened_needs_its_variables(tmp_path: Path) -> None:
    with pytest.raises(NeedsLogin) as caught:
        StoreKeeper(tmp_path / "stores").settings("unknown")

    assert caught.value.reason == "store_unknown"
