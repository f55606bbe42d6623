"""A store in an S3 bucket, through boto3.

Needs single PUT, ranged GET, HEAD, LIST and DELETE. Nothing rests on conditional writes or on the server's
checksums: several servers ignore or garble them, and BLAKE3 covers every byte.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from pollinator.chunks.flow import Flow
from pollinator.chunks.keys import INDEX, PACK, SNAPSHOT, check_key, object_prefix
from pollinator.chunks.s3_body import Body, receive
from pollinator.chunks.s3_client import Client, Entry, Page, make_client
from pollinator.chunks.s3_errors import (
    age_by_server_s,
    ahead_of_server_s,
    asked_to_wait_s,
    garbled,
    refused,
    unanswered,
)
from pollinator.chunks.store import Listed
from pollinator.chunks.traffic import Traffic
from pollinator.v1.store_pb2 import S3Store as S3Settings
from pollinator.wire.errors import InvalidInput, NotFound, PollinatorError, Unavailable
from pollinator.wire.store_env import is_endpoint

PAGE_KEYS = 1000
"""Most keys that a server lists at once."""

_NO_SENSE: tuple[type[Exception], ...] = (ResponseParserError, ValueError)
"""What boto3 raises when it cannot make sense of an answer."""
LATELY_S = 3600.0
"""An object that is there already, and younger, need not be put again."""

_FOREIGN: tuple[type[Exception], ...] = (ClientError, BotoCoreError, HTTPError, OSError, *_NO_SENSE)
"""All that it raises: an answer that refuses, no answer, or a connection that broke while reading as well."""

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, and how often to try again."""

    tries: int = 5
    first_pause_s: float = 0.2
    """Longest first pause; it doubles with each try, and the real one is drawn between zero and it."""
    longest_pause_s: float = 5.0
    longest_asked_s: float = 60.0
    """A server that asks for more time between two tries gets so much."""
    connect_s: float = 5.0
    silence_s: float = 20.0
    """A transfer without progress for so long is cut and made again."""


class S3Store:
    """Objects of one project in a bucket."""

    def __init__(
        self,
        settings: S3Settings,
        place: str,
        patience: Patience | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        _check(settings)
        self._traffic = traffic or Traffic()
        self._settings = settings
        self._patience = patience or Patience()
        self._prefix = object_prefix(settings.prefix, place)
        self._endpoint = settings.endpoint.rstrip("/") or "AWS"
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._made: Client | None = None
        self._requests = 0
        self._conditions = True
        """Until the server says that it knows none; one that ignores them is as good."""
        self._retries = 0
        self.sent = Flow()

    @property
    def identity(self) -> str:
        """Names this store, without credentials."""
        return f"s3:{self._endpoint}/{self._settings.bucket}/{self._prefix}"

    @property
    def requests(self) -> int:
        """Requests made so far, repeats included."""
        return self._requests

    @property
    def retries(self) -> int:
        """How many of them were made because the one before had failed."""
        return self._retries

    def put(self, key: str, data: bytes | memoryview) -> None:
        """One single PUT.

        What is named by its content is put on the condition that it is not there, where the server knows
        conditions. Nothing rests on it, but so a good object is not written over by a late or garbled repeat.
        """
        when_absent = self._conditions and key[:1] in (PACK, SNAPSHOT, INDEX)
        try:
            self._put(key, data, when_absent=when_absent)
        except _AlreadyThere:
            if not self._holds(key, data):
                self._put(key, data, when_absent=False)
        except _Unknown:
            if not when_absent:
                raise
            self._conditions = False
            self._put(key, data, when_absent=False)

    def _put(self, key: str, data: bytes | memoryview, *, when_absent: bool) -> None:
        query: dict[str, str | Body] = {**self._at(key), **({"IfNoneMatch": "*"} if when_absent else {})}

        def send(client: Client) -> None:
            # Somebody waits for a snapshot: it does not wait for what others send.
            with nullcontext() if key[:1] == SNAPSHOT else self._traffic.slots:
                body = Body(data, limit=self._traffic.upload, pause=self._closed.wait, on_sent=self.sent.add)
                try:
                    client.put_object(**query, Body=body)
                except BaseException:
                    body.take_back()
                    raise

        self._ask(send)

    def _holds(self, key: str, data: bytes | memoryview) -> bool:
        """Whether an object is what it should be, as far as the server's tag tells, and was put lately.

        What is older is put again: who collects garbage goes by the age.
        """
        at = self._at(key)
        found = self._ask(lambda client: client.head_object(**at))
        age_s = age_by_server_s(found)
        tag = found.get("ETag", "").strip('"')
        return age_s < LATELY_S and tag == hashlib.md5(data, usedforsecurity=False).hexdigest()

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """One GET, of a range when one is asked for."""
        query = self._at(key)
        if length == 0:
            return b""
        if offset or length is not None:
            last = "" if length is None else str(offset + length - 1)
            query["Range"] = f"bytes={offset}-{last}"

        def read(client: Client) -> bytes:
            with self._traffic.slots, client.get_object(**query)["Body"] as body:
                return receive(body, self._traffic.download, self._closed.wait)

        try:
            return self._ask(read)
        except _PastTheEnd:
            return b""
        except NotFound as error:
            if error.reason != "object_missing":
                raise
            raise NotFound(f"{self.identity} has no object {key}", reason=error.reason) from error

    def missing(self, keys: list[str]) -> list[str]:
        """Asks for each key."""
        return [key for key in keys if not self._has(key)]

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Lists page by page."""
        return (each.key for each in self.listing(prefix))

    def listing(self, prefix: str = "") -> Iterator[Listed]:
        """Lists page by page."""
        query: dict[str, str] = {}
        while True:
            entries, token = self._page(prefix, query)
            for entry in entries:
                modified_ns = int(entry["LastModified"].timestamp() * 1e6) * 1000
                yield Listed(entry["Key"].removeprefix(self._prefix), entry["Size"], modified_ns)
            if not token:
                return
            query = {"ContinuationToken": token}

    def delete(self, key: str) -> None:
        """One DELETE."""
        at = self._at(key)
        try:
            self._ask(lambda client: client.delete_object(**at))
        except NotFound as error:
            if error.reason != "object_missing":
                raise

    def check(self) -> None:
        """Lists one key: unlike HEAD, a refused LIST says why. Tries only twice, for somebody waits."""
        self._page("", {}, most=1, tries=2)

    def close(self) -> None:
        """Close the connections; a request under way is not made again, and no other is made."""
        self._closed.set()
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

    def _page(
        self, prefix: str, token: dict[str, str], most: int = 0, tries: int | None = None
    ) -> tuple[Sequence[Entry], str]:
        """Objects, and the token for the next page if there is more."""
        query = {"Bucket": self._settings.bucket, "Prefix": self._prefix + prefix, **token}
        return self._ask(
            lambda client: _whole(client.list_objects_v2(**query, MaxKeys=most or PAGE_KEYS)), tries=tries
        )

    def _has(self, key: str) -> bool:
        at = self._at(key)
        try:
            self._ask(lambda client: client.head_object(**at))
        except NotFound:
            return False
        return True

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._settings.bucket, "Key": self._prefix + check_key(key)}

    def _ask(self, request: Callable[[Client], _Result], *, tries: int | None = None) -> _Result:
        """Make a request; all of ours may be repeated, for what is put has one writer."""
        patience = self._patience
        pause_s = patience.first_pause_s
        for left in range((tries or patience.tries) - 1, -1, -1):
            if self._closed.is_set():
                break
            client = self._client()
            with self._lock:
                self._requests += 1
            try:
                return request(client)
            except _FOREIGN as error:
                failure = self._meaning(error)
                if not failure.retryable or not left:
                    raise failure from error
                asked_s = asked_to_wait_s(error.response) if isinstance(error, ClientError) else 0.0
            # Full jitter: those who failed together must not come back together.
            jitter_s = random.uniform(0, pause_s)  # noqa: S311 - no secret
            self._closed.wait(jitter_s + min(asked_s, patience.longest_asked_s))
            with self._lock:
                self._retries += not self._closed.is_set()
            pause_s = min(pause_s * 2, patience.longest_pause_s)
        raise Unavailable(f"the store at {self._endpoint} was closed", reason="store_closed")

    def _meaning(self, error: Exception) -> PollinatorError:
        if isinstance(error, _NO_SENSE):
            return garbled(self._endpoint, error)
        if not isinstance(error, ClientError):
            return unanswered(self._endpoint, error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status == 416:
            return _PastTheEnd("the range begins behind the end", reason="past_the_end")
        if status == 412:
            return _AlreadyThere("the object is there", reason="already_there")
        code = error.response.get("Error", {}).get("Code", "")
        ahead_s = ahead_of_server_s(error.response, time.time())
        meant = refused(self._settings.bucket, self._settings.endpoint, code, status, ahead_s)
        return _Unknown(meant.message, reason=meant.reason, hint=meant.hint) if status == 501 else meant

    def _client(self) -> Client:
        with self._lock:
            if self._made is None:
                try:
                    self._made = make_client(
                        self._settings, self._patience.connect_s, self._patience.silence_s
                    )
                except _FOREIGN as error:
                    raise unanswered(self._endpoint, error) from error
            return self._made


class _PastTheEnd(InvalidInput):
    """A range begins behind the end of its object."""


class _AlreadyThere(InvalidInput):
    """What was to be put only when it is not there is there."""


class _Unknown(InvalidInput):
    """The server does not know what was asked for, such as a condition."""


def _whole(page: Page) -> tuple[Sequence[Entry], str]:
    """Objects of a page and the token for the next. What a page leaves out is taken for lost or for garbage.

    Raises:
        ValueError: the page is not whole.
    """
    entries = page.get("Contents", ())
    token = page.get("NextContinuationToken", "")
    told = all({"Key", "Size", "LastModified"} <= entry.keys() for entry in entries)
    counted = page.get("KeyCount", len(entries)) == len(entries)
    if not told or not counted or page.get("IsTruncated") != bool(token):
        raise ValueError("a list of objects is not whole")
    return entries, token


def _check(settings: S3Settings) -> None:
    if not settings.bucket:
        raise InvalidInput("no bucket is named", reason="bucket_unset", hint="set AWS_S3_BUCKET")
    if settings.addressing not in ("", "path", "virtual", "auto"):
        raise InvalidInput(f"addressing cannot be {settings.addressing!r}", reason="bad_store")
    if settings.endpoint and not is_endpoint(settings.endpoint):
        # Not shown: it may hold a password.
        raise InvalidInput(
            "the store's endpoint is not of the form http://host:port or https://host:port",
            reason="bad_store",
        )
