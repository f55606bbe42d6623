"""Every way to reach a real S3 server, and what is said when it cannot be reached."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pollinator.chunks.digest import digest_of
from pollinator.chunks.keys import pack_key
from pollinator.chunks.store import Store
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.wire.errors import (
    Denied,
    Exhausted,
    InvalidInput,
    NeedsLogin,
    NotFound,
    PollinatorError,
    Unavailable,
)
from pollinator.wire.store_env import store_settings_from_environment
from support.ceph import Ceph
from support.s3_servers import CephGateway, Certificate, Rclone, S3Server, started

pytestmark = pytest.mark.integration

KEY = pack_key("p", digest_of(b"object"))
BODY = random_bytes(100_000)
Opener = Callable[[StoreSettings], Store]


def serves(store: Store) -> bool:
    """The store does all that is asked of one."""
    store.check()
    store.put(KEY, BODY)
    whole, part = store.get(KEY), store.get(KEY, 500, 1000)
    listed = list(store.keys())
    store.delete(KEY)
    return (whole, part, listed, store.missing([KEY])) == (BODY, BODY[500:1500], [KEY], [KEY])


def refusal(kind: type[PollinatorError], store: Store) -> PollinatorError:
    """What is said about a store that cannot be used, whatever is asked of it."""
    reasons: set[str] = set()
    error: PollinatorError | None = None
    for call in (store.check, lambda: store.put(KEY, BODY), lambda: store.get(KEY)):
        with pytest.raises(kind) as caught:
            call()
        error = caught.value
        reasons.add(error.reason)

    assert error is not None
    assert reasons == {error.reason}
    return error


@pytest.fixture
def asked_hosts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hosts whose addresses were asked for. Names below localhost lead here, as many resolvers have it."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str | None, *args: object, **kwargs: object) -> object:
        asked.append(str(host))
        here = str(host).endswith("localhost")
        return real("127.0.0.1" if here else host, *args, **kwargs)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@pytest.fixture(params=["rclone", "ceph"])
def virtual_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[S3Server]:
    """Servers that find the bucket in the host's name; this rclone finds it nowhere else."""
    if request.param == "ceph":
        yield request.getfixturevalue("ceph_s3")
        return
    server = started(lambda: Rclone(tmp_path / "rclone", virtual_hosts=True))
    yield server
    server.stop()


# Addressing


def test_the_bucket_is_in_the_path_of_an_endpoint_of_ones_own(server: S3Server, opened: Opener) -> None:
    assert serves(opened(server.settings()))
    assert serves(opened(server.settings(addressing="path")))


def test_the_bucket_can_be_in_the_hosts_name(
    virtual_server: S3Server, opened: Opener, asked_hosts: list[str]
) -> None:
    endpoint = virtual_server.endpoint.replace("127.0.0.1", "localhost")
    store = opened(virtual_server.settings(endpoint=endpoint, addressing="virtual"))

    assert serves(store)
    assert set(asked_hosts) == {f"{virtual_server.bucket}.localhost"}


def test_any_region_will_do_where_there_are_none(server: S3Server, opened: Opener) -> None:
    assert serves(opened(server.settings(region="eu-north-1")))


# TLS


def test_a_certificate_that_nobody_trusts_is_taken_where_the_user_says_so(
    tls_server: S3Server, opened: Opener
) -> None:
    assert serves(opened(tls_server.settings(skip_verify=True)))


def test_a_certificate_that_nobody_trusts_is_refused_with_the_ways_out(
    tls_server: S3Server, opened: Opener
) -> None:
    with pytest.raises(Unavailable) as caught:
        opened(tls_server.settings(skip_verify=False)).check()

    assert caught.value.reason == "store_unreachable"
    assert "AWS_S3_SKIPVERIFY" in caught.value.hint
    assert "AWS_CA_BUNDLE" in caught.value.hint


def test_an_authority_of_ones_own_can_be_trusted(
    tls_server: S3Server, opened: Opener, certificate: Certificate
) -> None:
    bundle = str(certificate.certificate)

    assert serves(opened(tls_server.settings(skip_verify=False, ca_bundle=bundle)))


def test_a_file_of_authorities_that_is_not_there_is_named(tls_server: S3Server, opened: Opener) -> None:
    with pytest.raises(InvalidInput) as caught:
        opened(tls_server.settings(skip_verify=False, ca_bundle="/no/such/file")).check()

    assert "/no/such/file" in caught.value.message


def test_the_wrong_scheme_hints_at_the_setting(any_server: S3Server, opened: Opener) -> None:
    scheme, _, address = any_server.endpoint.partition("://")
    other = {"http": "https", "https": "http"}[scheme]
    with pytest.raises(Unavailable) as caught:
        opened(any_server.settings(endpoint=f"{other}://{address}")).check()

    assert "AWS_S3_TLS" in caught.value.hint


def test_an_object_as_large_as_a_pack_goes_over_tls(tls_server: S3Server, opened: Opener) -> None:
    body = random_bytes(17 * 1024 * 1024)
    store = opened(tls_server.settings())
    store.put(KEY, body)

    assert digest_of(store.get(KEY)) == digest_of(body)


def test_no_trailer_is_sent_to_a_server_that_only_the_aws_chain_names(
    tls_server: S3Server, opened: Opener, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # boto3 then takes it for AWS. Over TLS it would append checksums, which neither server can take.
    (tmp_path / "config").write_text(
        f"[profile site]\nendpoint_url={tls_server.endpoint}\nregion=us-east-1\n"
        f"aws_access_key_id={tls_server.access_key}\naws_secret_access_key={tls_server.secret_key}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    settings = tls_server.settings(
        endpoint="", access_key="", secret_key="", profile="site", addressing="path"
    )

    assert serves(opened(settings))


# What users export


def test_the_variables_of_the_original_reach_a_server(any_server: S3Server, opened: Opener) -> None:
    settings = store_settings_from_environment(any_server.environment())

    assert settings is not None
    assert settings == any_server.settings()
    assert serves(opened(settings))


def test_the_variables_of_aws_reach_a_server(server: S3Server, opened: Opener) -> None:
    settings = store_settings_from_environment(
        {
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_S3_BUCKET": server.bucket,
        }
    )

    assert settings is not None
    assert serves(opened(settings))


# Refusals


@pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
def test_wrong_keys_are_named_as_such_and_not_repeated(server: S3Server, opened: Opener, wrong: str) -> None:
    error = refusal(NeedsLogin, opened(server.settings(**{wrong: "WRONGKEYWRONGKEY"})))

    assert error.reason == "bad_credentials"
    assert "AWS_S3_SECRETKEY" in error.hint
    for secret in ("WRONGKEYWRONGKEY", server.secret_key):
        assert secret not in f"{error.message} {error.hint}"


def test_a_bucket_that_is_missing_is_named_with_the_command_that_makes_it(
    server: S3Server, opened: Opener, project: str
) -> None:
    name = f"no-{project}"
    store = opened(server.settings(bucket=name))
    error = refusal(NotFound, store)

    assert error.reason == "bucket_missing"
    assert name in error.message
    assert f"aws s3 mb s3://{name} --endpoint-url {server.endpoint}" in error.hint


def test_a_bucket_that_is_made_afterwards_serves_without_more_ado(
    server: S3Server, opened: Opener, project: str
) -> None:
    store = opened(server.settings(bucket=f"late-{project}"))
    refusal(NotFound, store)
    server.make_bucket(f"late-{project}")

    assert serves(store)


def test_a_bucket_of_somebody_else_is_denied(
    ceph_s3: S3Server, ceph_s3_tls: S3Server, opened: Opener
) -> None:
    error = refusal(Denied, opened(ceph_s3.settings(bucket=ceph_s3_tls.bucket)))

    assert error.reason == "store_denied"


def test_a_quota_that_is_used_up_is_named(ceph: Ceph, opened: Opener) -> None:
    server = CephGateway(ceph)
    ceph.limit_user(server.access_key, 50_000)
    store = opened(server.settings())
    store.put(KEY, BODY[:10_000])

    with pytest.raises(Exhausted) as caught:
        store.put(KEY, BODY)

    assert caught.value.reason == "quota"
    assert store.get(KEY) == BODY[:10_000]


def test_a_name_that_no_bucket_can_have_is_the_users(server: S3Server, opened: Opener) -> None:
    with pytest.raises(InvalidInput) as caught:
        opened(server.settings(bucket="not/a bucket")).check()

    assert caught.value.reason == "bad_store"
