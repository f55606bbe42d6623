"""What the API of a cluster says when it refuses, as errors that are told apart by their reason."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pollinator.wire.documents import as_entry
from pollinator.wire.errors import (
    AlreadyExists,
    Denied,
    Exhausted,
    InvalidInput,
    NeedsLogin,
    NotFound,
    OutOfRange,
    PollinatorError,
    Unavailable,
    WrongState,
)

MOST_BYTES = 64 * 1024
"""How much of a refusal is read."""
WORDS = 1000
"""How much of it is repeated."""

_KINDS: dict[int, tuple[type[PollinatorError], str]] = {
    400: (InvalidInput, "kubernetes_refused"),
    403: (Denied, "kubernetes_denied"),
    404: (NotFound, "kubernetes_missing"),
    405: (InvalidInput, "kubernetes_refused"),
    409: (WrongState, "kubernetes_conflict"),
    410: (OutOfRange, "kubernetes_expired"),
    413: (InvalidInput, "kubernetes_refused"),
    415: (InvalidInput, "kubernetes_refused"),
    422: (InvalidInput, "kubernetes_refused"),
}


def read(data: bytes, server: str) -> Any:
    """What JSON says.

    Raises:
        Unavailable: it is none.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise garbled(server) from error


def garbled(server: str) -> Unavailable:
    """An answer that is none of such a server."""
    return Unavailable(
        f"{server} does not answer as a Kubernetes server does",
        reason="kubernetes_garbled",
        hint="the server of the cluster in the kubeconfig may be another one's",
    )


def status_of(said: bytes) -> Mapping[str, Any]:
    """The ``Status`` in an answer; where it has none, its words are the message."""
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        found = None
    return as_entry(found) or {"message": said.decode("utf-8", "replace")}


def refused(code: int, status: Mapping[str, Any], server: str, login: str = "") -> PollinatorError:
    """The error for an answer.

    Args:
        code: of HTTP.
        status: what it says.
        server: who says it, for people.
        login: the command with which somebody logs in there.
    """
    words = " ".join(str(status.get("message") or "").split())[:WORDS] or f"HTTP {code}"
    if code == 401:
        return NeedsLogin(f"{server} does not know who asks: {words}", reason="kubernetes_login", hint=login)
    if code == 409 and status.get("reason") == "AlreadyExists":
        return AlreadyExists(words, reason="kubernetes_exists")
    if code == 403 and "exceeded quota" in words:
        return Exhausted(words, reason="kubernetes_quota")
    kind, reason = _KINDS.get(code, (Unavailable, "kubernetes_busy"))
    return kind(f"{server} says: {words}", reason=reason)
