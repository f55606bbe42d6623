"""The stores a daemon knows, and what is needed to reach them again."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.daemon.sync.stores import DEFAULT, StoreKeeper
from pollinator.v1.store_pb2 import FolderStore, S3Store, StoreSettings
from pollinator.wire.errors import InvalidInput, NeedsLogin

BUCKET = StoreSettings(
    s3=S3Store(bucket="b", endpoint="http://127.0.0.1:1", access_key="k", secret_key="very-secret")
)


@pytest.fixture
def keeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreKeeper:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return StoreKeeper(tmp_path / "stores")


def folder(path: Path) -> StoreSettings:
    return StoreSettings(folder=FolderStore(path=str(path)))


def test_a_store_that_was_opened_is_found_again_after_a_restart(keeper: StoreKeeper, tmp_path: Path) -> None:
    store_id, store = keeper.open(folder(tmp_path / "x"), "p")

    again = StoreKeeper(tmp_path / "stores")

    assert folder(tmp_path / "x") == again.settings(store_id)
    assert store.identity == again.reopen(store_id, "p").identity


def test_stores_and_projects_that_differ_have_ids_that_differ(keeper: StoreKeeper, tmp_path: Path) -> None:
    ids = [
        keeper.open(settings, project)[0]
        for settings, project in (
            (DEFAULT, "p"),
            (DEFAULT, "q"),
            (folder(tmp_path / "x"), "p"),
            (BUCKET, "p"),
        )
    ]

    assert 4 == len(set(ids))
    assert ids[0] == keeper.open(DEFAULT, "p")[0]


def test_new_keys_for_a_bucket_replace_the_old_ones_under_the_same_id(keeper: StoreKeeper) -> None:
    store_id, _ = keeper.open(BUCKET, "p")
    renewed = StoreSettings()
    renewed.CopyFrom(BUCKET)
    renewed.s3.secret_key = "renewed"

    assert store_id == keeper.open(renewed, "p")[0]
    assert "renewed" == keeper.settings(store_id).s3.secret_key


def test_keys_are_in_files_that_only_this_user_can_read(keeper: StoreKeeper, tmp_path: Path) -> None:
    store_id, store = keeper.open(BUCKET, "p")

    found = {
        path.name: path.stat().st_mode & 0o777
        for path in tmp_path.rglob("*")
        if path.is_file() and b"very-secret" in path.read_bytes()
    }
    assert {store_id: 0o600} == found
    assert 0o700 == (tmp_path / "stores").stat().st_mode & 0o777
    assert "very-secret" not in store.identity


def test_a_store_that_was_forgotten_says_how_to_make_it_known(keeper: StoreKeeper) -> None:
    with pytest.raises(NeedsLogin) as caught:
        keeper.settings("0123456789abcdef")

    assert "store_unknown" == caught.value.reason
    assert "pollinator sync" in caught.value.hint


def test_settings_that_cannot_be_meant_are_not_remembered(keeper: StoreKeeper, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        keeper.open(StoreSettings(folder=FolderStore(path="relative")), "p")

    assert [] == list((tmp_path / "stores").iterdir())
