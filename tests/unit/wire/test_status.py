"""Errors on their way over the wire."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata

from pollinator.wire import errors
from pollinator.wire.errors import Code, Internal, InvalidInput, PollinatorError, Unavailable, Violation
from pollinator.wire.status import error_status, to_error

KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PollinatorError)
]


def sent(error: PollinatorError) -> AioRpcError:
    """What a client's gRPC raises for this error."""
    status = error_status(error)
    trailing = Metadata(*(status.trailing_metadata or ()))
    return AioRpcError(status.code, Metadata(), trailing, details=status.details)


def size(error: PollinatorError) -> int:
    """Bytes of metadata, with the message escaped as it is on the wire."""
    status = error_status(error)
    text = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in status.details.encode())
    return text + sum(len(key) + len(value) for key, value in status.trailing_metadata or ())


def told(error: PollinatorError) -> tuple[object, ...]:
    return error.code, error.reason, error.message, error.hint, error.violations, error.retryable


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_arrives_as_it_was_sent(kind: type[PollinatorError]) -> None:
    violations = [Violation("project.yaml:1:2", "is odd"), Violation("--set x", "is \N{SNOWMAN}")]
    error = kind("what \N{SNOWMAN}\nhappened", reason="a_reason", hint="do this", violations=violations)

    assert told(error) == told(to_error(sent(error)))


@pytest.mark.parametrize("code", Code)
def test_every_code_is_one_of_grpc_and_has_an_error(code: Code) -> None:
    assert code.value in grpc.StatusCode.__members__
    assert code in {kind.code for kind in KINDS}


@pytest.mark.parametrize("code", set(grpc.StatusCode) - {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED})
def test_a_peer_without_details_is_understood_by_its_code(code: grpc.StatusCode) -> None:
    error = to_error(AioRpcError(code, Metadata(), Metadata(), details="text"))

    assert (code.name.lower(), "text", "") == (error.reason, error.message, error.hint)
    assert error.code.value == (code.name if code.name in Code.__members__ else "INTERNAL")


def test_a_call_that_its_server_cancelled_can_be_made_again() -> None:
    error = to_error(AioRpcError(grpc.StatusCode.CANCELLED, Metadata(), Metadata(), details="CANCELLED"))

    assert isinstance(error, Unavailable)
    assert "unavailable" == error.reason


def test_a_peer_without_a_text_has_its_code_for_one() -> None:
    assert "UNAVAILABLE" == to_error(AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata())).message


@pytest.mark.parametrize("garbage", [b"\xff\xff", b"\x1a\x04\x12\x02\xff\xff", "text"])
def test_details_that_are_damaged_are_left_out(garbage: bytes | str) -> None:
    trailing = Metadata(("grpc-status-details-bin", garbage))
    error = to_error(AioRpcError(grpc.StatusCode.NOT_FOUND, Metadata(), trailing, details="text"))

    assert ("not_found", "text") == (error.reason, error.message)


def test_a_damaged_detail_does_not_hide_the_others() -> None:
    status = error_status(InvalidInput("text", reason="a_reason", hint="do this"))
    key, value = next(iter(status.trailing_metadata or ()))
    assert isinstance(value, bytes)
    hint = value.index(b"do this")
    damaged = value[: hint - 1] + b"\x7f" + value[hint:]
    trailing = Metadata((key, damaged))

    error = to_error(AioRpcError(status.code, Metadata(), trailing, details=status.details))
    assert ("a_reason", "") == (error.reason, error.hint)


@pytest.mark.parametrize(
    "error",
    [
        InvalidInput("m" * 100_000, reason="r", hint="h" * 100_000),
        InvalidInput("\N{SNOWMAN}" * 50_000, reason="r", hint="%" * 50_000),
        InvalidInput("m", reason="r", violations=[Violation("project.yaml:1:1", "is wrong")] * 5000),
        Unavailable("\0" * 9000, reason="r", violations=[Violation("\udcff" * 900, "\udcff" * 90_000)] * 9),
    ],
)
def test_no_error_is_too_big_for_a_client(error: PollinatorError) -> None:
    arrived = to_error(sent(error))

    assert 7500 > size(error)
    assert (error.code, error.reason) == (arrived.code, arrived.reason)
    assert arrived.message.rstrip(".")[:100] == error.message[:100].rstrip(".")


def test_what_is_left_out_is_counted() -> None:
    error = InvalidInput("m", reason="r", violations=[Violation(f"at {n}", "x" * 100) for n in range(90)])
    arrived = to_error(sent(error)).violations

    assert error.violations[: len(arrived) - 1] == arrived[:-1]
    assert len(arrived) > 10
    left = 90 - len(arrived)
    assert (
        Violation(f"at {89 - left}", f"this is not right either, nor are {left} things more") == arrived[-1]
    )


def test_bytes_that_are_no_text_are_shown_as_escapes() -> None:
    error = Internal("no \udcff here", reason="r", hint="\udc80", violations=[Violation("\udcfe", "\udcfd")])
    arrived = to_error(sent(error))

    assert ("no \\udcff here", "\\udc80") == (arrived.message, arrived.hint)
    assert (Violation("\\udcfe", "\\udcfd"),) == arrived.violations
