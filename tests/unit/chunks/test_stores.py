"""Opening the store that settings describe."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.chunks.stores import open_store
from pollinator.v1.store_pb2 import FolderStore, OwnStore, S3Store, StoreSettings
from pollinator.wire.errors import InvalidInput
from support.storing import MemoryStore


def s3(**values: str) -> StoreSettings:
    settings = S3Store(bucket="b", endpoint="http://h:1")
    for name, value in values.items():
        setattr(settings, name, value)
    return StoreSettings(s3=settings)


def test_the_embedded_default_is_in_the_users_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    store = open_store(StoreSettings(folder=FolderStore()), "demo")

    assert store.identity == f"folder:{tmp_path}/pollinator/store/pollinator/demo"


def test_a_folder_is_shared_by_projects_that_do_not_meet(tmp_path: Path) -> None:
    settings = StoreSettings(folder=FolderStore(path=str(tmp_path)))

    assert open_store(settings, "a").identity == f"folder:{tmp_path}/pollinator/a"
    assert open_store(settings, "b").identity == f"folder:{tmp_path}/pollinator/b"


def test_a_bucket_is_identified_by_endpoint_bucket_prefix_and_project() -> None:
    assert open_store(s3(prefix="/team/"), "demo").identity == "s3:http://h:1/b/team/pollinator/demo/"
    assert open_store(s3(endpoint=""), "demo").identity == "s3:AWS/b/pollinator/demo/"


def test_credentials_are_no_part_of_the_identity() -> None:
    secret = s3(access_key="KEYKEY", secret_key="SECRET")

    assert open_store(secret, "demo").identity == open_store(s3(), "demo").identity


def test_own_means_the_store_that_is_given() -> None:
    store = MemoryStore()

    assert open_store(StoreSettings(own=OwnStore()), "demo", own=store) is store


@pytest.mark.parametrize(
    "settings",
    [
        StoreSettings(),
        StoreSettings(own=OwnStore()),
        StoreSettings(folder=FolderStore(path="relative")),
        s3(bucket=""),
        s3(addressing="odd"),
        s3(endpoint="host:9000"),
        s3(endpoint="ftp://host"),
        s3(endpoint="http://[::1"),
        s3(endpoint="http://user:hunter2@host"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_without_repeating_a_password(
    settings: StoreSettings,
) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_store(settings, "demo")

    assert "hunter2" not in str(caught.value) + caught.value.hint


def test_a_project_cannot_reach_another_ones_objects(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_store(StoreSettings(folder=FolderStore(path=str(tmp_path))), "../other")

    assert caught.value.reason == "bad_project"
