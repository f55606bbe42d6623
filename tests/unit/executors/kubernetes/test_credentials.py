"""What pods get to reach a store: never the user's own keys, and word of why where there is nothing else."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from pollinator.chunks import s3_limited
from pollinator.chunks.s3_limited import Limited
from pollinator.executors.kubernetes.credentials import Issued, Owner, issue
from pollinator.v1.run_pb2 import SnapshotSource
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.store_pb2 import FolderStore, OwnStore, S3Store, StoreSettings
from pollinator.wire.errors import InvalidInput

AT = "https://s3.example.org"


def source(**changes: str) -> SnapshotSource:
    s3 = S3Store(endpoint=AT, bucket="b", access_key="mine", secret_key="hunter2", prefix="some/where")
    for name, value in changes.items():
        setattr(s3, name, value)
    return SnapshotSource(run_id="run1", spec=RunSpec(project="demo"), store=StoreSettings(s3=s3))


@pytest.fixture
def issuing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A server that issues credentials, and finds those limited that say so. Gives what it was asked for."""
    asked: list[str] = []

    def limited(settings: S3Store, place: str) -> Limited:
        asked.append(place)
        made = S3Store()
        made.CopyFrom(settings)
        made.access_key, made.secret_key, made.session_token = "theirs", "other", "token"
        return Limited(made, time.time() + 3600)

    def is_limited(settings: S3Store, place: str) -> bool:
        return settings.session_token == "limited"

    monkeypatch.setattr(s3_limited, "limited", limited)
    monkeypatch.setattr(s3_limited, "is_limited", is_limited)
    return asked


def given(issued: Issued) -> tuple[str, str, str]:
    s3 = issued.settings.s3
    assert (s3.bucket, s3.prefix) == ("b", "some/where")
    return s3.access_key, s3.secret_key, s3.session_token


def test_the_store_is_asked_for_some_that_are_limited(issuing: list[str]) -> None:
    issued = issue(source(), Owner())

    assert ("theirs", "other", "token") == given(issued)
    assert ["pollinator/demo"] == issuing
    assert 1700 < issued.renew_at - time.time() < 1900
    assert "hunter2" not in repr(issued)


def test_those_that_came_with_the_run_are_passed_on_if_they_are_limited(issuing: list[str]) -> None:
    issued = issue(source(session_token="limited"), Owner())

    assert ("mine", "hunter2", "limited") == given(issued)
    assert ([], math.inf) == (issuing, issued.renew_at)


def test_a_session_of_the_user_is_not_passed_on(issuing: list[str]) -> None:
    assert ("theirs", "other", "token") == given(issue(source(session_token="the user's own"), Owner()))


def test_where_none_are_issued_the_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(settings: S3Store, place: str) -> None: ...

    monkeypatch.setattr(s3_limited, "limited", limited)
    with pytest.raises(InvalidInput, match="issues no limited credentials") as caught:
        issue(source(), Owner())

    assert "kubernetes.credentials" in caught.value.hint


def test_whoever_owns_the_cluster_may_have_some_there() -> None:
    issued = issue(source(session_token="x"), Owner("bucket-keys"))

    assert ("", "", "") == given(issued)
    assert math.inf == issued.renew_at


@pytest.mark.parametrize(
    "store", [StoreSettings(own=OwnStore()), StoreSettings(folder=FolderStore(path="/x")), StoreSettings()]
)
def test_files_that_are_in_no_bucket_cannot_be_reached(store: StoreSettings) -> None:
    asked = SnapshotSource(spec=RunSpec(project="demo"), store=store)
    with pytest.raises(InvalidInput, match="not in a bucket"):
        issue(asked, Owner("bucket-keys"))


@pytest.mark.parametrize("endpoint", ["http://localhost:9000", "http://127.0.0.1:9000"])
def test_a_store_of_this_machine_is_refused_unless_pods_reach_it_otherwise(
    issuing: list[str], endpoint: str
) -> None:
    with pytest.raises(InvalidInput, match="on this machine"):
        issue(source(endpoint=endpoint), Owner())
    issued = issue(source(endpoint=endpoint), Owner(endpoint="http://store.storage:9000"))

    assert "http://store.storage:9000" == issued.settings.s3.endpoint
    assert "theirs" == issued.settings.s3.access_key


def test_authorities_travel_with_the_credentials(issuing: list[str], tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(b"certificates")
    issued = issue(source(ca_bundle=str(tmp_path / "ca.pem"), profile="work"), Owner())

    assert b"certificates" == issued.authorities
    assert ("", "") == (issued.settings.s3.ca_bundle, issued.settings.s3.profile)
    with pytest.raises(InvalidInput, match="cannot be read"):
        issue(source(ca_bundle=str(tmp_path / "other.pem")), Owner())
