"""A store in an S3 bucket, through boto3. The only module that imports it, and only when a store is used.

Needs single PUT, ranged GET, HEAD, LIST and DELETE. Nothing rests on conditional writes or on the server's
checksums: several servers ignore or garble them, and BLAKE3 covers every byte.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar, cast

from pollinator.v1.store_pb2 import S3Store as S3Settings
from pollinator.wire.errors import (
    Denied,
    Exhausted,
    InvalidInput,
    NeedsLogin,
    NotFound,
    PollinatorError,
    Unavailable,
)

TRIES = 5
PAUSE_S = 0.2
"""Longest first pause; it doubles with each try, and the real pause is drawn from zero to it."""

CONNECT_S = 5
READ_S = 30

_Result = TypeVar("_Result")


class _Client(Protocol):
    """What is used of boto3's client."""

    def put_object(self, **kwargs: object) -> Mapping[str, Any]: ...
    def get_object(self, **kwargs: object) -> Mapping[str, Any]: ...
    def head_object(self, **kwargs: object) -> Mapping[str, Any]: ...
    def head_bucket(self, **kwargs: object) -> Mapping[str, Any]: ...
    def list_objects_v2(self, **kwargs: object) -> Mapping[str, Any]: ...
    def delete_object(self, **kwargs: object) -> Mapping[str, Any]: ...
    def close(self) -> None: ...


class S3Store:
    """Objects of one project in a bucket."""

    def __init__(self, settings: S3Settings, namespace: str) -> None:
        if not settings.bucket:
            raise InvalidInput("no bucket is named", reason="bucket_unset", hint="set AWS_S3_BUCKET")
        self._settings = settings
        self._prefix = "/".join(part for part in (settings.prefix.strip("/"), namespace) if part) + "/"
        self._lock = threading.Lock()
        self._client_made: _Client | None = None
        self._requests = 0

    @property
    def identity(self) -> str:
        """Names this store, without credentials."""
        return f"s3:{self._settings.endpoint or 'aws'}/{self._settings.bucket}/{self._prefix}"

    @property
    def requests(self) -> int:
        """Requests made so far, repeats included."""
        return self._requests

    def put(self, key: str, data: bytes) -> None:
        """One single PUT."""
        self._ask(lambda client: client.put_object(**self._at(key), Body=data))

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """One GET, of a range when one is asked for."""
        if length == 0:
            return b""
        extra: dict[str, object] = {}
        if offset or length is not None:
            last = "" if length is None else str(offset + length - 1)
            extra["Range"] = f"bytes={offset}-{last}"

        def read(client: _Client) -> bytes:
            answer = client.get_object(**self._at(key), **extra)
            with answer["Body"] as body:
                return cast("bytes", body.read())

        return self._ask(read)

    def missing(self, keys: list[str]) -> list[str]:
        """Asks for each key."""
        return [key for key in keys if not self._has(key)]

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Lists page by page."""
        token: dict[str, object] = {}
        while True:
            query = {"Bucket": self._settings.bucket, "Prefix": self._prefix + prefix, **token}
            page = self._ask(lambda client, query=query: client.list_objects_v2(**query))
            for entry in page.get("Contents", ()):
                yield str(entry["Key"]).removeprefix(self._prefix)
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        """One DELETE."""
        self._ask(lambda client: client.delete_object(**self._at(key)))

    def check(self) -> None:
        """The bucket is there and may be used."""
        self._ask(lambda client: client.head_bucket(Bucket=self._settings.bucket))

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client_made is not None:
                self._client_made.close()
                self._client_made = None

    def _has(self, key: str) -> bool:
        try:
            self._ask(lambda client: client.head_object(**self._at(key)))
        except NotFound:
            return False
        return True

    def _at(self, key: str) -> dict[str, object]:
        return {"Bucket": self._settings.bucket, "Key": self._prefix + key}

    def _ask(self, request: Callable[[_Client], _Result]) -> _Result:
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        pause_s = PAUSE_S
        for left in range(TRIES - 1, -1, -1):
            try:
                client = self._client()
                with self._lock:
                    self._requests += 1
                return request(client)
            except ClientError as error:
                failure = self._refused(cast("Mapping[str, Any]", error.response))
                cause: Exception = error
            except (BotoCoreError, HTTPError, OSError) as error:
                failure = self._no_answer(error)
                cause = error
            if not failure.retryable or not left:
                raise failure from cause
            time.sleep(random.uniform(0, pause_s))  # noqa: S311 - jitter, not a secret
            pause_s *= 2
        raise AssertionError("the last try returns or raises")

    def _client(self) -> _Client:
        with self._lock:
            if self._client_made is None:
                self._client_made = _make_client(self._settings)
            return self._client_made

    def _refused(self, answer: Mapping[str, Any]) -> PollinatorError:
        code = str(answer.get("Error", {}).get("Code", ""))
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        where = f"bucket {self._settings.bucket} at {self._settings.endpoint or 'AWS'}"
        if code in ("NoSuchBucket",):
            return NotFound(
                f"there is no {where}",
                reason="bucket_missing",
                hint="create it, or set AWS_S3_BUCKET to one that exists",
            )
        if code in _BAD_KEYS:
            return NeedsLogin(
                f"{where} does not take these credentials ({code})",
                reason="bad_credentials",
                hint="look at AWS_S3_ACCESSKEY and AWS_S3_SECRETKEY",
            )
        if code == "RequestTimeTooSkewed":
            return NeedsLogin(
                f"{where} says that this machine's clock is wrong", reason="clock_skew", hint="set the clock"
            )
        if code in ("NoSuchKey", "404", "NotFound") or status == 404:
            return NotFound(f"{where} does not have it", reason="object_missing")
        if code in ("QuotaExceeded", "EntityTooLarge", "XMinioStorageFull") or status == 507:
            return Exhausted(f"{where} is full ({code})", reason="quota")
        if code == "AccessDenied" or status in (401, 403):
            return Denied(
                f"{where} refuses access ({code or status})",
                reason="store_denied",
                hint="the credentials must be allowed to read, write, list and delete there",
            )
        if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout", "InternalError"):
            return Unavailable(f"{where} is not able to answer ({code or status})", reason="store_busy")
        return InvalidInput(f"{where} refuses the request ({code or status})", reason="store_refused")

    def _no_answer(self, error: Exception) -> PollinatorError:
        kind = type(error).__name__
        if kind in ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "SSOTokenLoadError"):
            return NeedsLogin(
                "there are no credentials for the bucket",
                reason="no_credentials",
                hint="set AWS_S3_ACCESSKEY and AWS_S3_SECRETKEY, or configure the AWS chain",
            )
        if kind in ("ParamValidationError", "InvalidEndpointError", "InvalidConfigError") or isinstance(
            error, ValueError
        ):
            return InvalidInput(f"the store's settings cannot be meant: {error}", reason="bad_store")
        hint = "is the address right, and AWS_S3_TLS?"
        if kind == "SSLError":
            hint = "the certificate is not trusted; AWS_S3_SKIPVERIFY=true accepts it unchecked"
        return Unavailable(
            f"no answer from the store at {self._settings.endpoint or 'AWS'} ({kind})",
            reason="store_unreachable",
            hint=hint,
        )


_BAD_KEYS = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
)


def _make_client(settings: S3Settings) -> _Client:
    import boto3
    from botocore.config import Config

    # Our own tries count requests and know what may be repeated; boto3 must not repeat as well.
    config = Config(
        signature_version="s3v4",
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        max_pool_connections=32,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": settings.addressing or ("path" if settings.endpoint else "auto")},
        request_checksum_calculation="when_required" if settings.endpoint else "when_supported",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session(
        aws_access_key_id=settings.access_key or None,
        aws_secret_access_key=settings.secret_key or None,
        aws_session_token=settings.session_token or None,
        profile_name=settings.profile or None,
        region_name=settings.region or ("us-east-1" if settings.endpoint else None),
    )
    return cast(
        "_Client",
        session.client(
            "s3",
            endpoint_url=settings.endpoint or None,
            verify=not settings.skip_verify,
            config=config,
        ),
    )
