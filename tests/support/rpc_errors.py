"""How an executor that refuses, or does not come up, looks to a daemon."""

from __future__ import annotations

import grpc

from pollinator.wire.errors import PollinatorError, Unavailable
from pollinator.wire.status import error_status


def to_unavailable() -> PollinatorError:
    """The error of an executor that does not come up."""
    return Unavailable("the executor does not start", reason="executor_down")


def rpc_error(error: PollinatorError | None) -> grpc.aio.AioRpcError:
    """What gRPC raises for an error of the server, or for a connection that broke."""
    if error is None:
        return grpc.aio.AioRpcError(
            grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details="cut"
        )
    status = error_status(error)
    trailing = grpc.aio.Metadata(*status.trailing_metadata)
    return grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), trailing, details=status.details)
