"""Errors to gRPC statuses and back, with ``google.rpc`` details: the only place that knows both."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message

# These ship their types but not the marker that mypy asks for; the separate stubs spoil those of gRPC.
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, Help, RetryInfo  # type: ignore[import-untyped]
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from pollinator.wire import errors
from pollinator.wire.errors import Code, PollinatorError, Violation

DOMAIN = "pollinator.dev"
_DETAILS_KEY = "grpc-status-details-bin"
_TEXT_BYTES = 800
"""A message is sent twice, once with three bytes for each that is not ASCII."""
_VIOLATIONS_BYTES = 2500
"""gRPC's clients refuse answers with more than 8 KiB of metadata in all, and with them the whole error."""

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
    """The status that carries ``error`` to a client, cut to what every client takes."""
    code = grpc.StatusCode[error.code.value]
    text = _fit(error.message, _TEXT_BYTES)
    message = Status(code=code.value[0], message=text)
    info = ErrorInfo(reason=error.reason, domain=DOMAIN)
    info.metadata["retryable"] = str(error.retryable).lower()
    message.details.append(_packed(info))
    if error.hint:
        link = Help.Link(description=_fit(error.hint, _TEXT_BYTES))
        message.details.append(_packed(Help(links=[link])))
    if error.retryable:
        retry = RetryInfo()
        retry.retry_delay.FromMilliseconds(500)
        message.details.append(_packed(retry))
    if error.violations:
        message.details.append(_packed(_bad_request(error.violations)))
    return _Status(code, text, ((_DETAILS_KEY, message.SerializeToString()),))


def _bad_request(violations: Sequence[Violation]) -> BadRequest:
    bad = BadRequest()
    for at, each in enumerate(violations):
        field = BadRequest.FieldViolation(
            field=_fit(each.where, _TEXT_BYTES), description=_fit(each.message, _TEXT_BYTES)
        )
        if bad.ByteSize() + field.ByteSize() > _VIOLATIONS_BYTES:
            field.description = f"this is not right either, nor are {len(violations) - at - 1} things more"
            bad.field_violations.append(field)
            break
        bad.field_violations.append(field)
    return bad


def _fit(text: str, limit: int) -> str:
    """As much as fits; a path may hold bytes that are no text, and they are shown as escapes."""
    data = text.encode("utf-8", "backslashreplace")
    return data.decode() if len(data) <= limit else data[: limit - 3].decode("utf-8", "ignore") + "..."


def to_error(error: grpc.aio.AioRpcError) -> PollinatorError:
    """The error a peer meant. A peer that sent no details is understood by its status code alone."""
    status = Status()
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY and isinstance(value, bytes):
            with contextlib.suppress(DecodeError):
                status = Status.FromString(value)
    status.message = status.message or error.details() or ""
    return _from_details(error.code(), status)


def _from_details(code: grpc.StatusCode, status: Status) -> PollinatorError:
    reason, hint = code.name.lower(), ""
    violations: list[Violation] = []
    for detail in status.details:
        info, links, bad = ErrorInfo(), Help(), BadRequest()
        try:
            if detail.Unpack(info):
                reason = info.reason
            elif detail.Unpack(links) and links.links:
                hint = links.links[0].description
            elif detail.Unpack(bad):
                violations += [Violation(each.field, each.description) for each in bad.field_violations]
        except DecodeError:
            continue
    if code is grpc.StatusCode.CANCELLED and not status.details:
        # Not by us, which is no error of a call: whoever was asked has ended meanwhile.
        return errors.Unavailable(status.message or code.name, reason="unavailable")
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
