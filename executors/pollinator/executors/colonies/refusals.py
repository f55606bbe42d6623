"""What a Colonies server's refusal means. Decides only; ``rpc`` asks the servers.

Its words tell more than its status: what does not exist is 404 in one place and 500 in another, and when the
database does not answer, that may be 400, 403 or 500.
"""

from __future__ import annotations

import re
from typing import Any

from pollinator.executors.colonies.messages import one
from pollinator.wire.errors import (
    AlreadyExists,
    Denied,
    InvalidInput,
    NotFound,
    PollinatorError,
    TimedOut,
    Unavailable,
    WrongState,
)

_DATABASE = re.compile(
    r"\bpq: (?!.*\b(?:violates|invalid|unsupported|too long|out of range)\b)"
    r"|\bsql: |\bdial tcp\b|\bbad connection\b|\bconnection re(?:fused|set)\b|\bEOF$"
)
"""Not where it does not take a value."""
_TAKEN = re.compile(r"already exists|\bduplicate key\b")
_MISSING = re.compile(r"\b(?:process|executor) is nil$|not found|does not exist|Failed to get file$")
_NO_PROCESS = re.compile(r"Invalid process with Id|\bprocess not found$")
"""With status 403 where one subscribes."""


class Unanswered(Unavailable):
    """The server may have done what it was asked, or not."""


def refused(kind: str, status: int, failure: Any, identity: str) -> PollinatorError:
    """The error for a refusal.

    Args:
        kind: type of the message that was refused.
        status: HTTP status; 0 where there is none.
        failure: what the answer holds.
        identity: who asked.
    """
    said = one(failure)
    status = said["status"] if isinstance(said.get("status"), int) else status
    message = str(said.get("message") or failure).strip()
    if _DATABASE.search(message):
        # It may have failed after it had written something.
        return Unanswered(f"the Colonies server failed: {message}", reason="colony_failed")
    if "PayloadType" in message:
        return WrongState(
            f"the Colonies server does not know {kind}", reason="colony_too_old", hint="version 1.9.12 does"
        )
    if _NO_PROCESS.search(message):
        status = 404
    if status in (401, 403) or "executor not found" in message:
        hint = f"see COLONIES_COLONY_NAME and COLONIES_PRVKEY, whose identity is {identity}"
        return Denied(f"the Colonies server refuses: {message}", reason="colony_denied", hint=hint)
    if status == 404 or _MISSING.search(message):
        return NotFound(f"the Colonies server does not have it: {message}", reason="colony_missing")
    if _TAKEN.search(message):
        return AlreadyExists(f"the Colonies server has it already: {message}", reason="colony_exists")
    if status == 408:
        return TimedOut(f"the Colonies server gave up: {message}", reason="colony_silent")
    if status >= 500:
        return Unanswered(f"the Colonies server failed: {message}", reason="colony_failed")
    return InvalidInput(f"the Colonies server does not take {kind}: {message}", reason="colony_refused")
