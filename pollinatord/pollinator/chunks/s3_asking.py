"""Asking an S3 server: one client, tries, pauses between them, and what its refusals and its silence mean."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from pollinator.chunks.s3_client import Client, make_client
from pollinator.chunks.s3_errors import ahead_of_server_s, asked_to_wait_s, garbled, refused, unanswered
from pollinator.v1.store_pb2 import S3Store as S3Settings
from pollinator.wire.errors import InvalidInput, PollinatorError, Unavailable
from pollinator.wire.store_env import is_endpoint

_NO_SENSE: tuple[type[Exception], ...] = (ResponseParserError, ValueError)
"""What boto3 raises when it cannot make sense of an answer."""

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


class Asking:
    """One server, as the settings name it. Used from many threads."""

    def __init__(self, settings: S3Settings, patience: Patience | None = None) -> None:
        _check(settings)
        self._settings = settings
        self._patience = patience or Patience()
        self.endpoint = settings.endpoint.rstrip("/") or "AWS"
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._made: Client | None = None
        self.requests = 0
        """Made so far, repeats included."""
        self.retries = 0
        """How many of them were made because the one before had failed."""

    def close(self) -> None:
        """Close the connections; a request under way is not made again, and no other is made."""
        self._closed.set()
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

    def pause(self, seconds: float) -> None:
        """Wait so long, or until nothing is asked any more."""
        self._closed.wait(seconds)

    def ask(self, request: Callable[[Client], _Result], *, tries: int | None = None) -> _Result:
        """Make a request; all of ours may be repeated, for what is put has one writer.

        Raises:
            PollinatorError: it is refused, or failed too often.
        """
        patience = self._patience
        pause_s = patience.first_pause_s
        for left in range((tries or patience.tries) - 1, -1, -1):
            if self._closed.is_set():
                break
            client = self._client()
            with self._lock:
                self.requests += 1
            try:
                return request(client)
            except _FOREIGN as error:
                failure = self._meaning(error)
                if not failure.retryable or not left:
                    raise failure from error
                asked_s = asked_to_wait_s(error.response) if isinstance(error, ClientError) else 0.0
            # Full jitter: those who failed together must not come back together.
            jitter_s = random.uniform(0, pause_s)  # noqa: S311 - no secret
            self.pause(jitter_s + min(asked_s, patience.longest_asked_s))
            with self._lock:
                self.retries += not self._closed.is_set()
            pause_s = min(pause_s * 2, patience.longest_pause_s)
        raise Unavailable(f"the store at {self.endpoint} was closed", reason="store_closed")

    def _meaning(self, error: Exception) -> PollinatorError:
        if isinstance(error, _NO_SENSE):
            return garbled(self.endpoint, error)
        if not isinstance(error, ClientError):
            return unanswered(self.endpoint, error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status == 416:
            return PastTheEnd("the range begins behind the end", reason="past_the_end")
        if status == 412:
            return AlreadyThere("the object is there", reason="already_there")
        code = error.response.get("Error", {}).get("Code", "")
        ahead_s = ahead_of_server_s(error.response, time.time())
        meant = refused(self._settings.bucket, self._settings.endpoint, code, status, ahead_s)
        return Unknown(meant.message, reason=meant.reason, hint=meant.hint) if status == 501 else meant

    def _client(self) -> Client:
        with self._lock:
            if self._made is None:
                try:
                    self._made = make_client(
                        self._settings, self._patience.connect_s, self._patience.silence_s
                    )
                except _FOREIGN as error:
                    raise unanswered(self.endpoint, error) from error
            return self._made


class PastTheEnd(InvalidInput):
    """A range begins behind the end of its object."""


class AlreadyThere(InvalidInput):
    """What was to be put only when it is not there is there."""


class Unknown(InvalidInput):
    """The server does not know what was asked for, such as a condition."""


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
