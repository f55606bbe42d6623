"""What is used of boto3's client, which has no types of its own."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, TypedDict

from pollinator.chunks.s3_body import Body, Readable


class Answer(AbstractContextManager["Answer"], Readable, Protocol):
    """The body of an answer, to be closed."""


class Got(TypedDict):
    """Answer of a GET."""

    Body: Answer


class Tagged(TypedDict, total=False):
    """Answer of a HEAD."""

    ETag: str


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
