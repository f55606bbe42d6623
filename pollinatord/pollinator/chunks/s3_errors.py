"""What an S3 server's refusal, or its silence, means for the user. Decides only; ``s3`` asks the servers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from pollinator.wire.errors import (
    Denied,
    Exhausted,
    InvalidInput,
    NeedsLogin,
    NotFound,
    PollinatorError,
    Unavailable,
)


@dataclass(frozen=True, slots=True)
class _Meaning:
    kind: type[PollinatorError]
    reason: str
    text: str
    """``{where}`` is the bucket, ``{code}`` the server's word for it, ``{clock}`` how wrong our clock is."""
    hint: str = ""
    """With ``{make}`` for the command that makes the bucket."""


_BAD_KEYS = _Meaning(
    NeedsLogin,
    "bad_credentials",
    "{where} does not take these credentials ({code})",
    "look at AWS_S3_ACCESSKEY and AWS_S3_SECRETKEY",
)
_EXPIRED = _Meaning(
    NeedsLogin, "expired_credentials", "the credentials for {where} have expired ({code})", "log in again"
)
_SKEWED = _Meaning(
    NeedsLogin,
    "clock_skew",
    "{where} says that this machine's clock is wrong ({code}){clock}",
    "set the clock: signatures are only good for some minutes around the server's time",
)
_NO_BUCKET = _Meaning(
    NotFound,
    "bucket_missing",
    "there is no {where}",
    "create it ({make}), or set AWS_S3_BUCKET to one that exists",
)
_NO_NAME = _Meaning(
    InvalidInput,
    "bad_store",
    "there can be no {where}: the name is none for a bucket ({code})",
    "set AWS_S3_BUCKET to 3 to 63 lower-case letters, digits, dots and dashes",
)
_DENIED = _Meaning(
    Denied,
    "store_denied",
    "{where} refuses access ({code})",
    "the credentials must be allowed to read, write, list and delete there",
)
_FULL = _Meaning(Exhausted, "quota", "{where} is full ({code})", "raise the quota or remove old objects")
_BUSY = _Meaning(Unavailable, "store_busy", "{where} cannot answer now ({code})")
_GARBLED = _Meaning(Unavailable, "store_garbled", "{where} did not get what was sent ({code})")
_REGION = _Meaning(
    InvalidInput, "wrong_region", "{where} is in another region ({code})", "set AWS_S3_REGION to the bucket's"
)
_ABSENT = _Meaning(NotFound, "object_missing", "{where} does not have it ({code})")
_REFUSED = _Meaning(InvalidInput, "store_refused", "{where} refuses the request ({code})")

_BY_CODE: Mapping[str, _Meaning] = {
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": _NO_NAME,
    "InvalidAccessKeyId": _BAD_KEYS,
    "SignatureDoesNotMatch": _BAD_KEYS,
    "InvalidToken": _BAD_KEYS,
    "ExpiredToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": _SKEWED,
    "RequestExpired": _SKEWED,
    "AccessDenied": _DENIED,
    "QuotaExceeded": _FULL,
    "XMinioStorageFull": _FULL,
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "SlowDown": _BUSY,
    "RequestTimeout": _BUSY,
    "OperationAborted": _BUSY,
    "BadDigest": _GARBLED,
    "IncompleteBody": _GARBLED,
    "XAmzContentSHA256Mismatch": _GARBLED,
    "NoSuchKey": _ABSENT,
}

_BY_STATUS: Mapping[int, _Meaning] = {
    301: _REGION,
    401: _DENIED,
    403: _DENIED,
    404: _ABSENT,
    408: _BUSY,
    409: _BUSY,
    429: _BUSY,
    501: _REFUSED,
    507: _FULL,
}

_NO_CREDENTIALS = frozenset(
    {
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "ProfileNotFound",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)

_BAD_SETTINGS = frozenset(
    {"ParamValidationError", "InvalidEndpointError", "NoRegionError", "InvalidRegionError", "ValueError"}
)


def refused(
    bucket: str, endpoint: str, code: str, status: int, ahead_s: float | None = None
) -> PollinatorError:
    """The error for an answer.

    Args:
        bucket: name of the bucket.
        endpoint: URL of the server; empty for AWS.
        code: the server's word for it; a number when it sent none.
        status: HTTP status.
        ahead_s: how far our clock is ahead of the server's, if that is known.
    """
    meaning = _BY_CODE.get(code) or _BY_STATUS.get(status) or (_BUSY if status >= 500 else _REFUSED)
    where = f"bucket {bucket} at {endpoint or 'AWS'}"
    make = f"aws s3 mb s3://{bucket}" + (f" --endpoint-url {endpoint}" if endpoint else "")
    clock = "" if ahead_s is None else f": it is {_minutes(ahead_s)} the server's"
    text = meaning.text.format(where=where, code=code or status, clock=clock)
    return meaning.kind(text, reason=meaning.reason, hint=meaning.hint.format(make=make))


def _minutes(ahead_s: float) -> str:
    minutes = max(1, round(abs(ahead_s) / 60))
    return f"{minutes} {'minute' if minutes == 1 else 'minutes'} {'ahead of' if ahead_s > 0 else 'behind'}"


def ahead_of_server_s(answer: Mapping[str, Any], now_s: float) -> float | None:
    """How far our clock is ahead of the server's; None when the server does not say."""
    try:
        return now_s - parsedate_to_datetime(_header(answer, "date")).timestamp()
    except (TypeError, ValueError):
        return None


def asked_to_wait_s(answer: Mapping[str, Any]) -> float:
    """How long the server asks to be left alone: its Retry-After, in seconds or as a date beside its own."""
    asked = _header(answer, "retry-after")
    if asked.isdecimal():
        return float(asked)
    try:
        until, now = (parsedate_to_datetime(text) for text in (asked, _header(answer, "date")))
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def age_by_server_s(answer: Mapping[str, Any]) -> float:
    """How old an object is by the server's own clock; very old when the server does not say."""
    try:
        now, modified = (parsedate_to_datetime(_header(answer, name)) for name in ("date", "last-modified"))
        return (now - modified).total_seconds()
    except (TypeError, ValueError):
        return math.inf


def _header(answer: Mapping[str, Any], name: str) -> str:
    headers: Mapping[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers.get(name, "")


def unanswered(endpoint: str, error: Exception) -> PollinatorError:
    """The error for a request that got no answer, or was never made."""
    kind = type(error).__name__
    if kind in _NO_CREDENTIALS:
        return NeedsLogin(
            f"there are no credentials for {endpoint}",
            reason="no_credentials",
            hint="set AWS_S3_ACCESSKEY and AWS_S3_SECRETKEY, or configure the AWS chain",
        )
    if kind in _BAD_SETTINGS:
        return InvalidInput(f"the store's settings cannot be meant: {error}", reason="bad_store")
    hint = (
        "is it running, is the address right, and does AWS_S3_TLS say what it speaks? "
        "POLLINATOR_STORE=folder keeps the project on this machine"
    )
    if kind == "SSLError":
        hint = (
            "does it speak TLS (else AWS_S3_TLS=false)? AWS_CA_BUNDLE names a file with the certificate "
            "of its authority; AWS_S3_SKIPVERIFY=true accepts any"
        )
    return Unavailable(
        f"no answer from the store at {endpoint} ({kind})", reason="store_unreachable", hint=hint
    )


def garbled(endpoint: str, error: Exception) -> PollinatorError:
    """The error for an answer that makes no sense."""
    return Unavailable(
        f"the answer of the store at {endpoint} makes no sense ({type(error).__name__})",
        reason="store_garbled",
        hint="is it an S3 server, and what lies between here and there?",
    )
