"""Which folder a client means: whatever links lead to a project, it is one.

All that follows compares names of folders, so links are resolved here, once for every call there is.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc

from pollinator.daemon.pool import Pool
from pollinator.v1.executor_pb2 import PreflightRequest
from pollinator.v1.project_pb2 import CloseProjectRequest
from pollinator.v1.run_pb2 import StartRunRequest
from pollinator.wire.errors import InvalidInput

if TYPE_CHECKING:
    # Generic in the stubs only.
    _Context = grpc.aio.ServicerContext[Any, Any]
    _Handler = grpc.RpcMethodHandler[Any, Any]


class RootInterceptor(grpc.aio.ServerInterceptor):
    """Gives every method the real path in place of the ``root`` that its request names."""

    def __init__(self, pool: Pool, listed: Callable[[str], bool]) -> None:
        """A disk that does not answer may hold up ``pool``; ``listed`` says whether a project is open so."""
        self._pool = pool
        self._listed = listed

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """Wrap the method's handler; None when there is no such method."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(handler.unary_stream), **codec)
        return grpc.unary_unary_rpc_method_handler(self._unary(handler.unary_unary), **codec)

    def _unary(self, behaviour: Any) -> Any:
        async def answer(request: Any, context: _Context) -> Any:
            await self._resolve(request)
            return await behaviour(request, context)

        return answer

    def _stream(self, behaviour: Any) -> Any:
        async def answer(request: Any, context: _Context) -> AsyncIterator[Any]:
            await self._resolve(request)
            async for each in behaviour(request, context):
                yield each

        return answer

    async def _resolve(self, request: Any) -> None:
        if isinstance(request, (StartRunRequest, PreflightRequest)):
            request = request.project if request.HasField("project") else None
        root = getattr(request, "root", "")
        # What is no absolute path is refused by those who know whether it may be left out.
        if not os.path.isabs(root):
            return
        # A project that was moved, and left a link behind, is still to be forgotten by the name it has.
        if isinstance(request, CloseProjectRequest) and self._listed(root):
            return
        try:
            request.root = await self._pool.run(os.path.realpath, root)
        except ValueError as error:
            raise InvalidInput(f"{root!r} is no path of a project: {error}", reason="bad_path") from error
