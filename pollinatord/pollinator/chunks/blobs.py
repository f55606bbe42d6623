"""Lending a store to a peer over BlobService, and using the one a peer lends."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import grpc

from pollinator.chunks.flow import Flow
from pollinator.chunks.keeping import verify_lease
from pollinator.chunks.keys import CONDEMNED, LEASE, MOVES, REF, TALK, check_key, namespace
from pollinator.chunks.pack import verify
from pollinator.chunks.store import Listed, Store
from pollinator.v1 import store_pb2_grpc
from pollinator.v1.store_pb2 import (
    FindMissingRequest,
    FindMissingResponse,
    GetRequest,
    GetResponse,
    ListedObject,
    ListRequest,
    ListResponse,
    PutRequest,
    PutResponse,
)
from pollinator.wire.errors import Corrupt, InvalidInput, PollinatorError, Unavailable, Violation
from pollinator.wire.status import to_error

BLOCK_BYTES = 64 * 1024
MAX_OBJECT_BYTES = 256 * 1024 * 1024
"""Far above any pack: a limit for a peer that has gone wrong."""

MAX_KEYS = 1000
"""Keys in one question; more are asked for in several."""

TRIES = 4
PAUSE_S = 0.2
CALL_S = 120.0
"""Longest time one transfer may take."""

_Values = ParamSpec("_Values")
_Result = TypeVar("_Result")

if TYPE_CHECKING:
    # Generic in the stubs only.
    _Context = grpc.aio.ServicerContext[Any, Any]


class BlobServicer(store_pb2_grpc.BlobServiceServicer):
    """Serves the store that ``store_of(project)`` gives. Stores block, so they work on threads of its own."""

    def __init__(self, store_of: Callable[[str], Store], threads: int = 8) -> None:
        self._store_of = store_of
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="blobs")

    async def FindMissing(  # noqa: N802 - the protocol's name
        self, request: FindMissingRequest, context: _Context
    ) -> FindMissingResponse:
        """Which of the keys are not there."""
        store = self._store(request.project)
        return FindMissingResponse(keys=await self._blocking(store.missing, list(request.keys)))

    async def Put(  # noqa: N802
        self, request_iterator: AsyncIterator[PutRequest], context: _Context
    ) -> PutResponse:
        """Store one object, if its bytes are those its key names: a store that is lent must stay sound."""
        parts: list[bytes] = []
        size, key, store = 0, "", None
        async for message in request_iterator:
            if store is None:
                key, store = check_key(message.key), self._store(message.project)
            parts.append(message.data)
            size += len(message.data)
            if size > MAX_OBJECT_BYTES:
                raise InvalidInput("the object is too large", reason="object_too_large")
        if store is None:
            raise InvalidInput(
                "the upload names no object",
                reason="bad_key",
                violations=[Violation("key", "the first message names the object")],
            )
        body = b"".join(parts)
        await self._blocking(_verify, key, body)
        await self._blocking(store.put, key, body)
        return PutResponse(bytes=size)

    async def Get(  # noqa: N802
        self, request: GetRequest, context: _Context
    ) -> AsyncIterator[GetResponse]:
        """Send one object or a range of it."""
        store = self._store(request.project)
        data = await self._blocking(store.get, request.key, request.offset, request.length or None)
        for start in range(0, len(data), BLOCK_BYTES):
            yield GetResponse(data=data[start : start + BLOCK_BYTES])

    async def List(  # noqa: N802
        self, request: ListRequest, context: _Context
    ) -> AsyncIterator[ListResponse]:
        """Name the objects, some in each message."""
        store = self._store(request.project)
        found = await self._blocking(lambda: list(store.listing(request.prefix)))
        for start in range(0, len(found), MAX_KEYS):
            yield ListResponse(objects=map(_listed_object, found[start : start + MAX_KEYS]))

    def close(self) -> None:
        """Let the threads end once their work is done."""
        self._threads.shutdown(wait=False)

    def _store(self, project: str) -> Store:
        namespace(project)  # refuses what cannot be one
        return self._store_of(project)

    async def _blocking(
        self, work: Callable[_Values, _Result], *args: _Values.args, **kwargs: _Values.kwargs
    ) -> _Result:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))


class PeerStore:
    """The store of one project that a peer lends. Objects cannot be removed over BlobService.

    Args:
        channel: leads to the peer; closed with the store.
        project: whose objects.
        peer: names the peer in ``identity``, for example its address.
        pause_s: longest pause before the second try; it doubles with each.
    """

    def __init__(self, channel: grpc.Channel, project: str, peer: str, *, pause_s: float = PAUSE_S) -> None:
        namespace(project)
        self._channel = channel
        self._project = project
        self._peer = peer
        self._pause_s = pause_s
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._requests = 0
        self._retries = 0
        self.sent = Flow()
        self.received = Flow()
        """Bytes of objects as they come in, as ``sent`` are those that go out."""
        # The generated stub is typed for asyncio's channels; these calls block.
        service = "/pollinator.v1.BlobService"
        self._find = channel.unary_unary(
            f"{service}/FindMissing", FindMissingRequest.SerializeToString, FindMissingResponse.FromString
        )
        self._put = channel.stream_unary(
            f"{service}/Put", PutRequest.SerializeToString, PutResponse.FromString
        )
        self._get = channel.unary_stream(
            f"{service}/Get", GetRequest.SerializeToString, GetResponse.FromString
        )
        self._list = channel.unary_stream(
            f"{service}/List", ListRequest.SerializeToString, ListResponse.FromString
        )

    @property
    def identity(self) -> str:
        """Names this store."""
        return f"peer:{self._peer}/{namespace(self._project)}"

    @property
    def requests(self) -> int:
        """Calls so far, repeats included."""
        return self._requests

    @property
    def retries(self) -> int:
        """How many of them were repeats."""
        return self._retries

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Send an object in blocks."""
        check_key(key)
        self._ask(lambda: self._send(key, data))

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Receive an object or a range of it."""
        check_key(key)
        if length == 0:
            return b""
        request = GetRequest(project=self._project, key=key, offset=offset, length=length or 0)
        return self._ask(lambda: self._receive(request))

    def missing(self, keys: list[str]) -> list[str]:
        """Asks for many keys at once."""
        absent: list[str] = []
        for start in range(0, len(keys), MAX_KEYS):
            asked = [check_key(key) for key in keys[start : start + MAX_KEYS]]
            absent += self._ask(partial(self._missing, asked))
        return absent

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys that begin with ``prefix``."""
        return (each.key for each in self.listing(prefix))

    def listing(self, prefix: str = "") -> Iterator[Listed]:
        """The same with sizes and times."""
        request = ListRequest(project=self._project, prefix=prefix)
        answers = self._ask(lambda: list(self._list(request, timeout=CALL_S)))
        for answer in answers:
            for each in answer.objects:
                yield Listed(each.key, each.size, each.modify_time.ToNanoseconds())

    def delete(self, key: str) -> None:
        """Not offered by BlobService.

        Raises:
            InvalidInput: always.
        """
        raise InvalidInput(
            f"objects cannot be removed at {self._peer}: only its owner can", reason="not_offered"
        )

    def check(self) -> None:
        """One call, with a key that may be there or not."""
        self._ask(lambda: self._missing([f"p/00/{'0' * 64}"]))

    def close(self) -> None:
        """Close the channel; a call under way is not made again."""
        self._closed.set()
        self._channel.close()

    def _send(self, key: str, data: bytes | memoryview) -> None:
        out = 0

        def blocks() -> Iterator[PutRequest]:
            nonlocal out
            for block in _blocks(self._project, key, data):
                yield block
                # gRPC asks for the next block when this one is on its way.
                out += len(block.data)
                self.sent.add(len(block.data))

        try:
            self._put(blocks(), timeout=CALL_S)
        except grpc.RpcError:
            self.sent.add(-out)
            raise

    def _receive(self, request: GetRequest) -> bytes:
        parts: list[bytes] = []
        size, most = 0, min(request.length or MAX_OBJECT_BYTES, MAX_OBJECT_BYTES)
        call = self._get(request, timeout=CALL_S)
        try:
            for block in call:
                size += len(block.data)
                self.received.add(len(block.data))
                if size > most:
                    raise Corrupt(
                        f"{self._peer} sends more of {request.key} than the {most} bytes that it may",
                        reason="bad_pack",
                    )
                parts.append(block.data)
        except (grpc.RpcError, Corrupt):
            self.received.add(-size)
            raise
        finally:
            call.cancel()
        return b"".join(parts)

    def _missing(self, keys: Sequence[str]) -> list[str]:
        request = FindMissingRequest(project=self._project, keys=keys)
        return list(self._find(request, timeout=CALL_S).keys)

    def _ask(self, call: Callable[[], _Result]) -> _Result:
        pause_s = self._pause_s
        for left in range(TRIES - 1, -1, -1):
            with self._lock:
                self._requests += 1
            try:
                return call()
            except grpc.RpcError as error:
                if self._closed.is_set():
                    break
                failure = self._meaning(error)
                if not failure.retryable or not left:
                    raise failure from error
            except ValueError as error:
                # What a channel raises once it is closed.
                raise Unavailable(f"the way to {self._peer} is closed", reason="store_closed") from error
            if self._closed.wait(random.uniform(0, pause_s)):  # noqa: S311 - no secret
                break
            with self._lock:
                self._retries += 1
            pause_s *= 2
        raise Unavailable(f"the way to {self._peer} is closed", reason="store_closed")

    def _meaning(self, error: grpc.RpcError) -> PollinatorError:
        # Errors of blocking calls have the same methods; only their classes differ.
        failure = to_error(cast("grpc.aio.AioRpcError", error))
        if isinstance(failure, Unavailable) and failure.reason == "unavailable":
            return Unavailable(f"no answer from {self._peer}: {failure.message}", reason="peer_unreachable")
        return failure


def _blocks(project: str, key: str, data: bytes | memoryview) -> Iterator[PutRequest]:
    yield PutRequest(project=project, key=key, data=bytes(data[:BLOCK_BYTES]))
    for start in range(BLOCK_BYTES, len(data), BLOCK_BYTES):
        yield PutRequest(data=bytes(data[start : start + BLOCK_BYTES]))


def _verify(key: str, body: bytes) -> None:
    """A peer may store what its key names, and leases of its runs; nothing else of what keeps objects."""
    match key[:1]:
        case kind if kind == LEASE:
            verify_lease(key, body)
        case kind if kind in (REF, CONDEMNED, MOVES, TALK):
            raise InvalidInput(f"{key} is for its owner only", reason="not_offered")
        case _:
            verify(key, body)


def _listed_object(each: Listed) -> ListedObject:
    found = ListedObject(key=each.key, size=each.size)
    found.modify_time.FromNanoseconds(each.modified_ns)
    return found
