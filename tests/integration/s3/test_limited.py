"""Credentials for one project and for a while: from a server that issues them, and obeys their limits."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from pollinator.chunks import s3_limited
from pollinator.chunks.capture import capture
from pollinator.chunks.keeping import write_lease
from pollinator.chunks.keys import namespace
from pollinator.chunks.s3 import S3Store
from pollinator.chunks.s3_client import make_client
from pollinator.chunks.s3_limited import limited, policy_of, travels
from pollinator.v1.keeping_pb2 import Lease
from pollinator.v1.store_pb2 import S3Store as S3Settings
from pollinator.wire.errors import Denied
from support.ceph import Ceph
from support.s3_servers import CephGateway, S3Server

pytestmark = pytest.mark.integration


def issued(server: S3Server, project: str, prefix: str = "") -> S3Settings:
    found = limited(server.settings(prefix=prefix).s3, namespace(project))
    assert found is not None
    assert found.settings.session_token
    assert server.secret_key not in str(found.settings)
    return found.settings


@pytest.mark.parametrize("prefix", ["", "some/where"])
def test_what_an_executor_does_can_be_done_with_them(
    issuing_s3: S3Server, tmp_path: Path, prefix: str
) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    with closing(S3Store(issued(issuing_s3, "limited", prefix), namespace("limited"))) as store:
        done = capture(tmp_path, store)
        write_lease(store, "run1", Lease(result=done.ref))

        assert [] == store.missing([done.ref.key])
        assert store.get(done.ref.key)
        assert ["l/run1"] == list(store.keys("l/"))
        assert ["p/00/" + "0" * 64] == store.missing(["p/00/" + "0" * 64])
        with pytest.raises(Denied):
            store.delete("l/run1")


@pytest.mark.parametrize("project", ["other", "limited-2", "limit"])
def test_nothing_else_can_be_done_with_them(issuing_s3: S3Server, project: str) -> None:
    settings = issued(issuing_s3, "limited")
    with closing(S3Store(issuing_s3.settings().s3, namespace(project))) as other:
        write_lease(other, "run2", Lease())
    with closing(S3Store(settings, namespace(project))) as stranger:
        for deed in (
            lambda: stranger.get("l/run2"),
            lambda: write_lease(stranger, "run2", Lease()),
            lambda: list(stranger.keys("l/")),
            lambda: stranger.delete("l/run2"),
        ):
            with pytest.raises(Denied):
                deed()
    with closing(make_client(settings, 5, 5)) as client, pytest.raises(Exception, match="AccessDenied"):
        client.list_objects_v2(Bucket=settings.bucket)


def test_a_server_that_does_not_limit_them_issues_none(
    issuing_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = policy_of(issuing_s3.bucket, "")

    def careless(bucket: str, prefix: str) -> str:
        return everything

    monkeypatch.setattr(s3_limited, "policy_of", careless)

    assert limited(issuing_s3.settings().s3, namespace("limited")) is None


def test_a_server_that_issues_nothing_issues_none(rclone_s3: S3Server) -> None:
    assert limited(rclone_s3.settings().s3, namespace("limited")) is None


def test_a_user_who_may_not_take_the_role_gets_none(issuing_ceph: Ceph, issuing_s3: S3Server) -> None:
    assert issuing_s3.bucket
    assert limited(CephGateway(issuing_ceph).settings().s3, namespace("limited")) is None


def test_a_prefix_that_a_policy_takes_for_a_pattern_is_not_limited(issuing_s3: S3Server) -> None:
    assert limited(issuing_s3.settings(prefix="a*").s3, namespace("limited")) is None


def test_what_is_of_this_machine_alone_does_not_travel() -> None:
    assert travels(S3Settings(endpoint="https://s3.example.org"))
    assert travels(S3Settings())
    for endpoint in ("http://localhost:9000", "http://127.0.0.1:1", "http://[::1]:9000"):
        assert not travels(S3Settings(endpoint=endpoint))
    assert not travels(S3Settings(ca_bundle="/etc/ca.pem"))
