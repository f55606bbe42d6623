"""Lending a store to a peer over BlobService, and using a peer's."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from pollinator.chunks.store import Store
from pollinator.v1 import store_pb2_grpc
from pollinator.v1.store_pb2 import (
    FindMissingRequest,
    FindMissingResponse,
    GetRequest,
    GetResponse,
    PutRequest,
    PutResponse,
)
from pollinator.wire.errors import InvalidInput

BLOCK_BYTES = 64 * 1024
MAX_OBJECT_BYTES = 512 * 1024 * 1024
"""Far above any pack: a limit for a peer that has gone wrong."""

_KEY = re.compile(r"[psi]/[0-9a-f]{2}/[0-9a-f]{64}")
_PROJECT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


class BlobServicer(store_pb2_grpc.BlobServiceServicer):
    """Serves the store that ``store_of(project)`` gives. ``blocking`` runs a call on a worker thread."""

    def __init__(self, store_of: Callable[[str], Store], blocking: Callable[..., Any]) -> None:
        self._store_of = store_of
        self._blocking = blocking

    async def FindMissing(  # noqa: N802 - the protocol's name
        self, request: FindMissingRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> FindMissingResponse:
        """Which of the keys are not there."""
        store = self._checked(request.project, *request.keys)
        return FindMissingResponse(keys=await self._blocking(store.missing, list(request.keys)))

    async def Put(  # noqa: N802
        self, request_iterator: AsyncIterator[PutRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> PutResponse:
        """Store one object."""
        parts: list[bytes] = []
        size, key, store = 0, "", None
        async for message in request_iterator:
            if store is None:
                key, store = message.key, self._checked(message.project, message.key)
            parts.append(message.data)
            size += len(message.data)
            if size > MAX_OBJECT_BYTES:
                raise InvalidInput("the object is too large", reason="object_too_large")
        if store is None:
            raise InvalidInput("the upload names no object", reason="bad_key")
        await self._blocking(store.put, key, b"".join(parts))
        return PutResponse(bytes=size)

    async def Get(  # noqa: N802
        self, request: GetRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[GetResponse]:
        """Send one object or a range of it."""
        store = self._checked(request.project, request.key)
        data = await self._blocking(store.get, request.key, request.offset, request.length or None)
        for start in range(0, len(data), BLOCK_BYTES):
            yield GetResponse(data=data[start : start + BLOCK_BYTES])

    def _checked(self, project: str, *keys: str) -> Store:
        """A key becomes a path in a folder store, so nothing but a key may pass."""
        if not _PROJECT.fullmatch(project):
            raise InvalidInput(f"{project!r} is not the name of a project", reason="bad_project")
        for key in keys:
            if not _KEY.fullmatch(key):
                raise InvalidInput(f"{key!r} is not the key of an object", reason="bad_key")
        return self._store_of(project)
