"""What refusals of S3 servers mean."""

from __future__ import annotations

import pytest

from pollinator.chunks.s3_errors import ahead_of_server_s, refused, unanswered
from pollinator.wire.errors import (
    Denied,
    Exhausted,
    InvalidInput,
    NeedsLogin,
    NotFound,
    PollinatorError,
    Unavailable,
)

ENDPOINT = "http://h:1"


@pytest.mark.parametrize(
    ("code", "status", "kind", "reason"),
    [
        ("NoSuchBucket", 404, NotFound, "bucket_missing"),
        ("InvalidBucketName", 400, InvalidInput, "bad_store"),
        ("NoSuchKey", 404, NotFound, "object_missing"),
        ("404", 404, NotFound, "object_missing"),
        ("InvalidAccessKeyId", 403, NeedsLogin, "bad_credentials"),
        ("SignatureDoesNotMatch", 403, NeedsLogin, "bad_credentials"),
        ("ExpiredToken", 400, NeedsLogin, "expired_credentials"),
        ("RequestTimeTooSkewed", 403, NeedsLogin, "clock_skew"),
        ("AccessDenied", 403, Denied, "store_denied"),
        ("", 401, Denied, "store_denied"),
        ("QuotaExceeded", 403, Exhausted, "quota"),
        ("", 507, Exhausted, "quota"),
        ("AuthorizationHeaderMalformed", 400, InvalidInput, "wrong_region"),
        ("SlowDown", 503, Unavailable, "store_busy"),
        ("InternalError", 500, Unavailable, "store_busy"),
        ("", 429, Unavailable, "store_busy"),
        ("RequestTimeout", 400, Unavailable, "store_busy"),
        ("BadDigest", 400, Unavailable, "store_garbled"),
        ("ConditionalRequestConflict", 409, Unavailable, "store_busy"),
        ("NotImplemented", 501, InvalidInput, "store_refused"),
        ("InvalidArgument", 400, InvalidInput, "store_refused"),
    ],
)
def test_each_refusal_is_the_error_it_means(
    code: str, status: int, kind: type[PollinatorError], reason: str
) -> None:
    error = refused("b", ENDPOINT, code, status)

    assert (type(error), error.reason) == (kind, reason)
    assert f"bucket b at {ENDPOINT}" in error.message


@pytest.mark.parametrize(
    "code", ["NoSuchBucket", "InvalidAccessKeyId", "RequestTimeTooSkewed", "AccessDenied"]
)
def test_what_the_user_can_mend_comes_with_a_hint(code: str) -> None:
    assert refused("b", ENDPOINT, code, 403).hint


def test_a_missing_bucket_comes_with_the_command_that_makes_it() -> None:
    assert "(aws s3 mb s3://b --endpoint-url http://h:1)" in refused("b", ENDPOINT, "NoSuchBucket", 404).hint
    assert "(aws s3 mb s3://b)" in refused("b", "", "NoSuchBucket", 404).hint


@pytest.mark.parametrize(
    ("now_s", "said"),
    [
        (1700007500, "it is 125 minutes ahead of the server's"),
        (1699999930, "it is 1 minute behind the server's"),
    ],
)
def test_a_wrong_clock_comes_with_how_wrong_it_is(now_s: float, said: str) -> None:
    answer = {"ResponseMetadata": {"HTTPHeaders": {"date": "Tue, 14 Nov 2023 22:13:20 GMT"}}}
    error = refused("b", ENDPOINT, "RequestTimeTooSkewed", 403, ahead_of_server_s(answer, now_s))

    assert said in error.message


def test_nothing_is_said_of_a_clock_that_cannot_be_compared() -> None:
    error = refused("b", ENDPOINT, "RequestTimeTooSkewed", 403, ahead_of_server_s({}, 0.0))

    assert error.message.endswith("(RequestTimeTooSkewed)")


class NoCredentialsError(Exception):
    """Named as botocore's."""


class SSLError(Exception):
    """Named as botocore's."""


def test_silence_names_the_endpoint() -> None:
    error = unanswered("http://h:1", ConnectionResetError())

    assert isinstance(error, Unavailable)
    assert "http://h:1" in error.message


def test_missing_credentials_need_a_login() -> None:
    assert isinstance(unanswered("AWS", NoCredentialsError()), NeedsLogin)


def test_a_failed_handshake_hints_at_tls() -> None:
    assert "AWS_S3_SKIPVERIFY" in unanswered("https://h:1", SSLError()).hint


def test_settings_that_boto3_refuses_are_the_users() -> None:
    assert isinstance(unanswered("AWS", ValueError("Invalid endpoint")), InvalidInput)
