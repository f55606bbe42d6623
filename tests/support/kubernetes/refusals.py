"""What the API answers when it does not do what was asked, in its own words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from support.kubernetes.kinds import Kind, Obj


class Refusal(Exception):
    """An answer that is a failure."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        retry_after_s: int = 0,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = dict(details or {})
        if retry_after_s:
            self.details["retryAfterSeconds"] = retry_after_s
        self.retry_after_s = retry_after_s

    def status(self) -> Obj:
        """The body of the answer."""
        said: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details:
            said["details"] = self.details
        return {**said, "code": self.code}


def _details(kind: Kind, name: str) -> dict[str, Any]:
    return {"name": name, "kind": kind.plural} | ({"group": kind.group} if kind.group else {})


def not_found(kind: Kind, name: str) -> Refusal:
    """There is none of that name."""
    return Refusal(404, "NotFound", f'{kind.resource} "{name}" not found', _details(kind, name))


def already_exists(kind: Kind, name: str) -> Refusal:
    """There is one of that name."""
    return Refusal(409, "AlreadyExists", f'{kind.resource} "{name}" already exists', _details(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> Refusal:
    """It has changed meanwhile."""
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try again"
    )
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return Refusal(409, "Conflict", message, _details(kind, name))


def forbidden(kind: Kind, name: str, why: str) -> Refusal:
    """Nobody may do that, or nobody may any more."""
    return Refusal(403, "Forbidden", f'{kind.resource} "{name}" is forbidden: {why}', _details(kind, name))


def bad_request(message: str) -> Refusal:
    """It cannot be understood."""
    return Refusal(400, "BadRequest", message)


def invalid(kind: Kind, name: str, causes: Iterable[tuple[str, str]]) -> Refusal:
    """It is understood, and cannot be meant; each cause is a field and a message."""
    found = list(causes)
    said = [f"{field}: {why}" for field, why in found]
    together = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    whole = f"{kind.name}.{kind.group}" if kind.group else kind.name
    details = {
        "name": name,
        "kind": kind.name,
        "causes": [{"reason": "FieldValueInvalid", "message": why, "field": field} for field, why in found],
    } | ({"group": kind.group} if kind.group else {})
    return Refusal(422, "Invalid", f'{whole} "{name}" is invalid: {together}', details)


def gone(message: str) -> Refusal:
    """What was is not known any more."""
    return Refusal(410, "Expired", message)


def unauthorized() -> Refusal:
    """Nobody knows who asks."""
    return Refusal(401, "Unauthorized", "Unauthorized")


def not_served() -> Refusal:
    """There is nothing below that path."""
    return Refusal(404, "NotFound", "the server could not find the requested resource")
