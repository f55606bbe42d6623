"""Which function answers which message. The modules that hold them add them here."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from support.colonies.decoding import Shape, Unreadable, message, text
from support.colonies.refusing import Refusal
from support.colonies.world import World

Answer = Callable[[World, str, Any], Any | Awaitable[Any]]
"""Takes who asks and the message; returns the payload."""

_NAMED = message(msgtype=text)


@dataclass(frozen=True)
class Kind:
    """A type of messages."""

    answer: Answer
    shape: Shape
    unreadable: str
    """What a message of other types is told."""
    mismatched: str
    """What a message of another kind is told."""

    def read(self, payload: str, kind: str) -> Any:
        """The message."""
        try:
            outer = json.loads(payload)
            asked = self.shape(outer)
            named = _NAMED(outer)["msgtype"]
        except (ValueError, Unreadable) as error:
            raise Refusal(400, f"{self.unreadable}, invalid JSON") from error
        if named != kind:
            raise Refusal(400, f"{self.mismatched}, msg.MsgType does not match payloadType")
        return asked


KINDS: dict[str, Kind] = {}


def answers(
    kind: str, shape: Shape, failed: str, mismatched: str | None = None
) -> Callable[[Answer], Answer]:
    """Adds a function that answers a kind of messages.

    Args:
        kind: of the messages.
        shape: of them.
        failed: how refusals of what cannot be read begin.
        mismatched: how those of another kind do, if differently.
    """

    def add(answer: Answer) -> Answer:
        KINDS[kind] = Kind(answer, shape, failed, failed if mismatched is None else mismatched)
        return answer

    return add
