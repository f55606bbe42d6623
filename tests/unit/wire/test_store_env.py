"""The store that the environment asks for."""

from __future__ import annotations

import pytest

from pollinator.v1.store_pb2 import FolderStore, S3Store, StoreSettings
from pollinator.wire.errors import InvalidInput
from pollinator.wire.store_env import store_settings_from_environment

ORIGINAL = {
    "AWS_S3_ENDPOINT": "s3.example.org:9000",
    "AWS_S3_ACCESSKEY": "KEYKEY",
    "AWS_S3_SECRETKEY": "SECRETSECRET",
    "AWS_S3_BUCKET": "bucket",
    "AWS_S3_TLS": "true",
    "AWS_S3_SKIPVERIFY": "false",
    "AWS_S3_REGION_KEY": "",
}


def s3(environ: dict[str, str]) -> S3Store:
    settings = store_settings_from_environment(environ)

    assert settings is not None
    assert settings.WhichOneof("kind") == "s3"
    return settings.s3


def wrong(environ: dict[str, str]) -> list[str]:
    """Names of the variables that are complained about."""
    with pytest.raises(InvalidInput) as caught:
        store_settings_from_environment(environ)
    text = repr(caught.value.violations) + caught.value.message

    assert caught.value.reason == "bad_store"
    assert "SECRET" not in text.replace("AWS_S3_SECRETKEY", "").replace("AWS_SECRET_ACCESS_KEY", "")
    return [each.where for each in caught.value.violations]


@pytest.mark.parametrize(
    "environ", [{}, {"AWS_ACCESS_KEY_ID": "x", "AWS_PROFILE": "p"}, {"AWS_S3_BUCKET": ""}]
)
def test_an_environment_that_names_no_store_is_none(environ: dict[str, str]) -> None:
    assert store_settings_from_environment(environ) is None


def test_the_variables_of_the_original_name_a_bucket() -> None:
    assert s3(ORIGINAL) == S3Store(
        endpoint="https://s3.example.org:9000",
        bucket="bucket",
        access_key="KEYKEY",
        secret_key="SECRETSECRET",
    )


@pytest.mark.parametrize(
    ("tls", "endpoint"),
    [
        ("true", "https://h:1"),
        ("1", "https://h:1"),
        ("True", "https://h:1"),
        ("t", "https://h:1"),
        ("false", "http://h:1"),
        ("0", "http://h:1"),
        ("", "http://h:1"),
    ],
)
def test_tls_is_what_the_variable_says(tls: str, endpoint: str) -> None:
    assert s3({**ORIGINAL, "AWS_S3_ENDPOINT": "h:1", "AWS_S3_TLS": tls}).endpoint == endpoint


def test_an_endpoint_may_have_a_scheme() -> None:
    url = {**ORIGINAL, "AWS_S3_ENDPOINT": "http://h:1/", "AWS_S3_TLS": ""}

    assert s3(url).endpoint == "http://h:1"
    assert wrong({**url, "AWS_S3_TLS": "true"}) == ["AWS_S3_TLS"]


def test_certificates_may_go_unchecked() -> None:
    assert s3({**ORIGINAL, "AWS_S3_SKIPVERIFY": "true"}).skip_verify


def test_an_authority_of_ones_own_may_be_trusted() -> None:
    assert s3({**ORIGINAL, "AWS_CA_BUNDLE": "/etc/ours.pem"}).ca_bundle == "/etc/ours.pem"


@pytest.mark.parametrize("name", ["AWS_S3_REGION", "AWS_S3_REGION_KEY", "AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_is_read_from_what_is_set(name: str) -> None:
    assert s3({**ORIGINAL, name: "north"}).region == "north"


def test_the_region_that_the_original_reads_wins() -> None:
    assert s3({**ORIGINAL, "AWS_S3_REGION_KEY": "documented", "AWS_S3_REGION": "read"}).region == "read"


@pytest.mark.parametrize("addressing", ["path", "virtual", "auto"])
def test_buckets_may_be_addressed_by_path_or_host(addressing: str) -> None:
    assert s3({**ORIGINAL, "AWS_S3_ADDRESSING": addressing}).addressing == addressing


def test_a_bucket_alone_is_enough_for_the_standard_chain() -> None:
    assert s3({"AWS_S3_BUCKET": "b"}) == S3Store(bucket="b")


def test_the_standard_chain_is_taken_from_the_callers_environment() -> None:
    environ = {
        "AWS_S3_BUCKET": "b",
        "AWS_ACCESS_KEY_ID": "ID",
        "AWS_SECRET_ACCESS_KEY": "S",
        "AWS_SESSION_TOKEN": "T",
        "AWS_ENDPOINT_URL_S3": "https://h",
        "AWS_PROFILE": "unused beside keys",
    }

    assert s3(environ) == S3Store(
        bucket="b", access_key="ID", secret_key="S", session_token="T", endpoint="https://h"
    )


def test_a_profile_is_passed_on() -> None:
    assert s3({"AWS_S3_BUCKET": "b", "AWS_PROFILE": "work"}).profile == "work"


def test_keys_of_the_original_never_mix_with_the_chain() -> None:
    chain = {"AWS_SESSION_TOKEN": "T", "AWS_PROFILE": "p", "AWS_ACCESS_KEY_ID": "other"}

    assert s3({**ORIGINAL, **chain}) == s3(ORIGINAL)


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("AWS_S3_BUCKET", ["AWS_S3_BUCKET"]),
        ("AWS_S3_ACCESSKEY", ["AWS_S3_ACCESSKEY"]),
        ("AWS_S3_SECRETKEY", ["AWS_S3_SECRETKEY"]),
    ],
)
def test_half_set_variables_are_an_error_that_names_what_is_missing(missing: str, named: list[str]) -> None:
    assert wrong({name: value for name, value in ORIGINAL.items() if name != missing}) == named


def test_all_that_is_wrong_is_named_at_once() -> None:
    environ = {
        "AWS_S3_ENDPOINT": "user:hunter2@host",
        "AWS_S3_SECRETKEY": "SECRETSECRET",
        "AWS_S3_TLS": "maybe",
        "AWS_S3_ADDRESSING": "odd",
    }

    assert sorted(wrong(environ)) == [
        "AWS_S3_ACCESSKEY",
        "AWS_S3_ADDRESSING",
        "AWS_S3_BUCKET",
        "AWS_S3_ENDPOINT",
        "AWS_S3_TLS",
    ]


def test_half_of_the_chains_keys_are_an_error() -> None:
    environ = {"AWS_S3_BUCKET": "b", "AWS_ACCESS_KEY_ID": "ID"}

    assert wrong(environ) == ["AWS_SECRET_ACCESS_KEY"]


@pytest.mark.parametrize(("named", "path"), [("folder", ""), ("folder:", ""), ("folder:/a/b", "/a/b")])
def test_a_folder_can_be_named_and_wins_over_a_bucket(named: str, path: str) -> None:
    settings = store_settings_from_environment({**ORIGINAL, "POLLINATOR_STORE": named})

    assert settings == StoreSettings(folder=FolderStore(path=path))


def test_a_bucket_with_prefix_can_be_named_and_wins_over_the_variable() -> None:
    found = s3({**ORIGINAL, "POLLINATOR_STORE": "s3://other/team/x"})

    assert (found.bucket, found.prefix, found.access_key) == ("other", "team/x", "KEYKEY")


@pytest.mark.parametrize(
    "named", ["folder:relative", "s3://", "s3:///prefix", "/path", "gs://bucket", "s3:b"]
)
def test_a_store_that_cannot_be_meant_is_refused(named: str) -> None:
    assert wrong({"POLLINATOR_STORE": named}) == ["POLLINATOR_STORE"]
