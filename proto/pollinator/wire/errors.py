"""The one family of errors, the same on both sides of the wire.

Every outside library is mapped to these in the one module that imports it. This module says nothing about
gRPC; ``status`` does the translation. A run that failed is not an error of anybody: it is an outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

SHOW_EXECUTOR = "pollinator executors show NAME"
"""For hints of an executor, which does not know what it is called: a daemon puts the name in."""


def with_name(text: str, executor: str) -> str:
    """What an executor said, with the name that it has at a daemon."""
    return text.replace(SHOW_EXECUTOR, SHOW_EXECUTOR.replace("NAME", executor))


class Code(StrEnum):
    """What kind of failure this is; the names are those of the gRPC status codes."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    DATA_LOSS = "DATA_LOSS"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong with what a user wrote."""

    where: str
    """Place as ``file:line:column``, or the name of a setting or flag."""
    message: str
    """What is wrong and what to write instead."""


class PollinatorError(Exception):
    """Base of all errors that a user may see.

    Attributes:
        code: the kind of failure.
        reason: stable word for programs, for example ``bucket_missing``.
        message: what happened, one sentence.
        hint: what to do about it, or empty.
        retryable: the same call may succeed later.
        violations: for bad input, each thing that is wrong.
        about: key of the object in a store that is gone or damaged, or empty; does not travel.
    """

    code: Code = Code.INTERNAL
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        hint: str = "",
        violations: Sequence[Violation] = (),
        about: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.hint = hint
        self.violations = tuple(violations)
        self.about = about


class InvalidInput(PollinatorError):
    """What the user wrote cannot be meant."""

    code = Code.INVALID_ARGUMENT


class NotFound(PollinatorError):
    """There is no such thing."""

    code = Code.NOT_FOUND


class AlreadyExists(PollinatorError):
    """There is such a thing already."""

    code = Code.ALREADY_EXISTS


class WrongState(PollinatorError):
    """Not possible now; something has to change first."""

    code = Code.FAILED_PRECONDITION


class Halted(WrongState):
    """Stopped for safety, for example because the project's folder vanished."""


class Denied(PollinatorError):
    """The other side knows who asks and refuses."""

    code = Code.PERMISSION_DENIED


class NeedsLogin(PollinatorError):
    """Credentials are missing, wrong or expired."""

    code = Code.UNAUTHENTICATED


class Exhausted(PollinatorError):
    """A limit is reached: disk, quota, watches."""

    code = Code.RESOURCE_EXHAUSTED


class OutOfRange(PollinatorError):
    """The offset asked for is not there any more, or not yet."""

    code = Code.OUT_OF_RANGE


class Unavailable(PollinatorError):
    """The other side does not answer or asks to come back later."""

    code = Code.UNAVAILABLE
    retryable = True


class TimedOut(PollinatorError):
    """No answer within the time given."""

    code = Code.DEADLINE_EXCEEDED
    retryable = True


class Corrupt(PollinatorError):
    """Bytes read back are not those written."""

    code = Code.DATA_LOSS


class Internal(PollinatorError):
    """A defect of the program."""

    code = Code.INTERNAL
