"""boto3's client: what is used of it, for it has no types of its own, and how one is made.

The only module that imports boto3.
"""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Literal, Protocol, TypedDict

import boto3.session
import botocore.session
import urllib3
from botocore.config import Config

from pollinator.chunks.s3_body import Body, Readable
from pollinator.v1.store_pb2 import S3Store as S3Settings
from pollinator.wire.errors import InvalidInput


class Answer(AbstractContextManager["Answer"], Readable, Protocol):
    """The body of an answer, to be closed."""


class Got(TypedDict):
    """Answer of a GET."""

    Body: Answer


class Tagged(TypedDict, total=False):
    """Answer of a HEAD."""

    ETag: str


class Begun(TypedDict):
    """Answer of a server that waits for parts."""

    UploadId: str


class Part(TypedDict):
    """A part that is there."""

    PartNumber: int
    ETag: str


class Parts(TypedDict):
    """What an object is made of."""

    Parts: Sequence[Part]


class Entry(TypedDict):
    """An object in a list."""

    Key: str
    Size: int
    LastModified: datetime


class Page(TypedDict, total=False):
    """A piece of a list."""

    Contents: Sequence[Entry]
    IsTruncated: bool
    KeyCount: int
    NextContinuationToken: str
    """Only when there is more."""


class Request(Protocol):
    """A request that is about to be sent."""

    headers: MutableMapping[str, str]
    body: object


class Events(Protocol):
    """Where to hear of requests."""

    def register(self, event_name: str, handler: Callable[..., None]) -> None:
        """Call a handler at an event."""
        ...


class Meta(Protocol):
    """What a client knows of itself."""

    @property
    def events(self) -> Events:
        """Of all requests of a client."""
        ...


class Client(Protocol):
    """A client of one server."""

    @property
    def meta(self) -> Meta:
        """What the client knows of itself."""
        ...

    def put_object(self, **query: str | Body) -> object:
        """PUT."""
        ...

    def create_multipart_upload(self, **query: str) -> Begun:
        """POST: an object will come in parts."""
        ...

    def upload_part(self, **query: str | int | Body) -> Tagged:
        """PUT of a part."""
        ...

    def complete_multipart_upload(self, **query: str | Parts) -> object:
        """POST: all parts are there."""
        ...

    def abort_multipart_upload(self, **query: str) -> object:
        """DELETE of the parts."""
        ...

    def get_object(self, **query: str) -> Got:
        """GET."""
        ...

    def head_object(self, **query: str) -> Tagged:
        """HEAD."""
        ...

    def delete_object(self, **query: str) -> object:
        """DELETE."""
        ...

    def list_objects_v2(self, **query: str | int) -> Page:
        """LIST."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


class _Server(TypedDict):
    endpoint_url: str | None
    verify: bool | str | None


class Credentials(TypedDict):
    """What a server issues for a while."""

    AccessKeyId: str
    SecretAccessKey: str
    SessionToken: str


class Issued(TypedDict):
    """Answer of a server that issues credentials."""

    Credentials: Credentials


class Issuer(Protocol):
    """A client of a server's token service."""

    def get_federation_token(self, **query: str | int) -> Issued:
        """A session of this user, limited by a policy."""
        ...

    def assume_role(self, **query: str | int) -> Issued:
        """A session of a role, limited by a policy."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


def make_client(settings: S3Settings, connect_s: float, silence_s: float) -> Client:
    """A client of the server that the settings name.

    Args:
        settings: how to reach it.
        connect_s: how long to wait for a connection.
        silence_s: how long to wait for anything to come or go on it.

    Raises:
        InvalidInput: certificates that cannot be read.
        BotoCoreError: other settings that boto3 refuses.
        ValueError: the same.
    """
    if settings.skip_verify:
        # The user asked for it; one warning for every request helps nobody.
        urllib3.disable_warnings()
    elif settings.ca_bundle and not os.path.isfile(settings.ca_bundle):
        raise InvalidInput(
            f"the certificates in {settings.ca_bundle} cannot be read",
            reason="bad_store",
            hint="AWS_CA_BUNDLE names the file",
        )
    # Our own tries count requests and know what may be repeated; boto3 must not repeat as well.
    config = Config(
        signature_version="s3v4",
        connect_timeout=connect_s,
        read_timeout=silence_s,
        max_pool_connections=32,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": _addressing(settings)},
        # Several servers take no checksums, and a profile of the AWS chain may name one of those.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    client: Client = _session(settings).client("s3", config=config, **_server(settings))
    for sent in ("PutObject", "UploadPart"):
        client.meta.events.register(f"before-send.s3.{sent}", _send)
    _keep_for_good()
    return client


def make_issuer(settings: S3Settings, connect_s: float, silence_s: float) -> Issuer:
    """A client of the token service beside a bucket: at AWS its own, elsewhere at the same address.

    Raises:
        BotoCoreError: settings that boto3 refuses.
        ValueError: the same.
    """
    config = Config(connect_timeout=connect_s, read_timeout=silence_s, retries={"total_max_attempts": 1})
    issuer: Issuer = _session(settings).client("sts", config=config, **_server(settings))
    return issuer


def _session(settings: S3Settings) -> boto3.session.Session:
    return boto3.session.Session(
        aws_access_key_id=settings.access_key or None,
        aws_secret_access_key=settings.secret_key or None,
        aws_session_token=settings.session_token or None,
        profile_name=settings.profile or None,
        region_name=settings.region or ("us-east-1" if settings.endpoint else None),
        botocore_session=_core(),
    )


def _server(settings: S3Settings) -> _Server:
    return {
        "endpoint_url": settings.endpoint or None,
        # None leaves the choice to the AWS chain.
        "verify": False if settings.skip_verify else settings.ca_bundle or None,
    }


def _send(request: Request, **_: object) -> None:
    """A body that is signed goes on its way at once; what a server has against it, it says afterwards."""
    del request.headers["Expect"]
    if isinstance(request.body, Body):
        request.body.send()


def _core() -> botocore.session.Session:
    """A session that shares with all others of this process what botocore says about S3.

    To read that takes 60 ms, and a store is opened for each run.
    """
    core = botocore.session.get_session()
    core.register_component("data_loader", _descriptions())
    return core


@functools.cache
def _keep_for_good() -> None:
    """What botocore has read stays as long as the process, and with it whatever else there is at this moment.

    The garbage collector need not go through all of it again and again: that took 40 of the 310 ms in which
    10,000 files were laid out.
    """
    gc.freeze()


@functools.cache
def _descriptions() -> object:
    return botocore.session.get_session().get_component("data_loader")


def _addressing(settings: S3Settings) -> Literal["auto", "path", "virtual"]:
    match settings.addressing:
        case "path" | "virtual" | "auto" as named:
            return named
        case _:
            return "path" if settings.endpoint else "auto"
