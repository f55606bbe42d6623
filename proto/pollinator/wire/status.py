"""Errors to gRPC statuses and back, with ``google.rpc`` details: the only place that knows both."""

from __future__ import annotations

from typing import Any, NamedTuple

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message

# These ship their types but not the marker that mypy asks for; the separate stubs spoil those of gRPC.
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, Help, RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from pollinator.wire import errors
from pollinator.wire.errors import Code, PollinatorError, Violation

DOMAIN = "pollinator.dev"
_DETAILS_KEY = "grpc-status-details-bin"

_CLASSES: dict[Code, type[PollinatorError]] = {
    kind.code: kind
    for kind in (
        errors.InvalidInput,
        errors.NotFound,
        errors.AlreadyExists,
        errors.WrongState,
        errors.Denied,
        errors.NeedsLogin,
        errors.Exhausted,
        errors.OutOfRange,
        errors.Unavailable,
        errors.TimedOut,
        errors.Corrupt,
        errors.Internal,
    )
}


class _Status(
    NamedTuple("_Fields", [("code", grpc.StatusCode), ("details", str), ("trailing_metadata", Any)]),
    grpc.Status,
):
    """The three attributes that gRPC reads from a status."""


def error_status(error: PollinatorError) -> grpc.Status:
    """The status that carries ``error`` to a client."""
    code = grpc.StatusCode[error.code.value]
    message = Status(code=code.value[0], message=error.message)
    info = ErrorInfo(reason=error.reason, domain=DOMAIN)
    info.metadata["retryable"] = str(error.retryable).lower()
    message.details.append(_packed(info))
    if error.hint:
        link = Help.Link(description=error.hint)
        message.details.append(_packed(Help(links=[link])))
    if error.violations:
        fields = [
            BadRequest.FieldViolation(field=each.where, description=each.message) for each in error.violations
        ]
        message.details.append(_packed(BadRequest(field_violations=fields)))
    if error.retryable:
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(500)
        message.details.append(_packed(retry))
    return _Status(code, error.message, ((_DETAILS_KEY, message.SerializeToString()),))


def to_error(error: grpc.aio.AioRpcError) -> PollinatorError:
    """The error a peer meant. A peer that sent no details is understood by its status code alone."""
    status = Status(message=error.details() or "")
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            status.ParseFromString(value)
    return _from_details(error.code(), status)


def _from_details(code: grpc.StatusCode, status: Status) -> PollinatorError:
    reason, hint = code.name.lower(), ""
    violations: list[Violation] = []
    for detail in status.details:
        info = ErrorInfo()
        links = Help()
        bad = BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(links) and links.links:
            hint = links.links[0].description
        elif detail.Unpack(bad):
            violations += [Violation(each.field, each.description) for each in bad.field_violations]
    kind = _CLASSES.get(_code_of(code), errors.Internal)
    return kind(status.message or code.name, reason=reason, hint=hint, violations=violations)


def _code_of(code: grpc.StatusCode) -> Code:
    try:
        return Code(code.name)
    except ValueError:
        return Code.INTERNAL


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
