"""What every gRPC server of ours has: one error interceptor, health, reflection, a private Unix socket."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from pollinator.wire.channel import MAX_MESSAGE_BYTES
from pollinator.wire.errors import Internal, PollinatorError
from pollinator.wire.places import private_dir
from pollinator.wire.status import error_status

if TYPE_CHECKING:
    # Generic in the stubs only.
    _Context = grpc.aio.ServicerContext[Any, Any]
    _Handler = grpc.RpcMethodHandler[Any, Any]
    _HandlerBase = grpc.RpcMethodHandler[Any, Any]
else:
    _HandlerBase = grpc.RpcMethodHandler


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns errors into statuses. A stray exception is logged with a reference and never reaches the client.

    grpc.aio would send the text of any exception to the client, whatever it holds.
    """

    def __init__(
        self,
        log: logging.Logger,
        lasting: Collection[str] = (),
        before: Callable[[Message], Awaitable[None]] | None = None,
    ) -> None:
        """Methods that are ``lasting`` do not count as active: who calls them goes on elsewhere by itself.

        ``before`` is awaited with each request that comes whole, and may change or refuse it.
        """
        self._log = log
        self._lasting = lasting
        self._before = before
        self.active_calls = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Wrap the method's handler; None when there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        return _Guarded(self, handler, handler_call_details.method)

    async def unary(self, method: str, behaviour: Any, request: Any, context: _Context) -> Any:
        """Await a unary answer; aborts the call on an error."""
        self.active_calls += 1
        try:
            await self._prepare(request)
            return await behaviour(request, context)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except PollinatorError as error:
            await self._abort(context, error)
        except Exception as error:  # noqa: BLE001 - the edge of the process: nothing may leak to the client
            await self._abort(context, self._internal(method, error))
        finally:
            self.active_calls -= 1

    async def stream(
        self, method: str, behaviour: Any, request: Any, context: _Context
    ) -> AsyncIterator[Any]:
        """Pass a stream of answers on; aborts the call on an error."""
        counted = method not in self._lasting
        self.active_calls += counted
        try:
            await self._prepare(request)
            async for answer in behaviour(request, context):
                yield answer
        except (asyncio.CancelledError, grpc.aio.AbortError, GeneratorExit):
            raise
        except PollinatorError as error:
            await self._abort(context, error)
        except Exception as error:  # noqa: BLE001 - as above
            await self._abort(context, self._internal(method, error))
        finally:
            self.active_calls -= counted

    async def _prepare(self, request: Any) -> None:
        if self._before is not None and isinstance(request, Message):
            await self._before(request)

    async def _abort(self, context: _Context, error: PollinatorError) -> None:
        await context.abort_with_status(error_status(error))

    def _internal(self, method: str, error: Exception) -> PollinatorError:
        reference = secrets.token_hex(4)
        self._log.error("%s failed, reference %s", method, reference, exc_info=error)
        return Internal(
            f"internal error {reference}",
            reason="internal",
            hint=f"this is a defect; the log has the details under {reference}",
        )


class _Guarded(_HandlerBase):
    """A method's handler behind the interceptor."""

    def __init__(self, guard: ErrorInterceptor, inner: _Handler, method: str) -> None:
        self.request_streaming = inner.request_streaming
        self.response_streaming = inner.response_streaming
        self.request_deserializer = inner.request_deserializer
        self.response_serializer = inner.response_serializer
        self.unary_unary = self.unary_stream = self.stream_unary = self.stream_stream = None
        match inner.request_streaming, inner.response_streaming:
            case False, False:
                self.unary_unary = self._unary(guard, inner.unary_unary, method)
            case False, True:
                self.unary_stream = self._stream(guard, inner.unary_stream, method)
            case True, False:
                self.stream_unary = self._unary(guard, inner.stream_unary, method)
            case _:
                self.stream_stream = self._stream(guard, inner.stream_stream, method)

    @staticmethod
    def _unary(guard: ErrorInterceptor, behaviour: Any, method: str) -> Any:
        async def answer(request: Any, context: _Context) -> Any:
            return await guard.unary(method, behaviour, request, context)

        return answer

    @staticmethod
    def _stream(guard: ErrorInterceptor, behaviour: Any, method: str) -> Any:
        async def answer(request: Any, context: _Context) -> AsyncIterator[Any]:
            async for each in guard.stream(method, behaviour, request, context):
                yield each

        return answer


def make_server(interceptor: ErrorInterceptor) -> grpc.aio.Server:
    """A server with our limits and the error interceptor."""
    return grpc.aio.server(
        interceptors=[interceptor],
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
        ],
    )


def bind_unix(server: grpc.aio.Server, path: Path) -> None:
    """Listen on a Unix socket that only this user can reach.

    The caller holds a lock: gRPC binds over a live socket without an error. Python's gRPC tells nothing
    about the peer, so the permissions of the folder (0700) and the socket (0600) are the authentication.
    """
    private_dir(path.parent)
    path.unlink(missing_ok=True)
    server.add_insecure_port(f"unix:{path}")
    # Not by umask, which belongs to the whole process: another thread may be making a folder right now.
    path.chmod(0o600)


async def until_unreachable(path: Path, look_s: float = 1.0) -> None:
    """Return when the socket at ``path`` is gone or another's: nobody can reach this process any more."""
    mine = _identity(path)
    while _identity(path) == mine:  # noqa: ASYNC110 - nothing tells when a file goes away
        await asyncio.sleep(look_s)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        info = path.stat()
    except FileNotFoundError:
        return None
    return info.st_dev, info.st_ino


async def add_health_and_reflection(server: grpc.aio.Server, services: Iterable[str]) -> None:
    """Serve ``grpc.health.v1`` (all SERVING) and reflection for the services with these full names."""
    names = tuple(services)
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    for name in names:
        await servicer.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((*names, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
