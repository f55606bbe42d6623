"""What a test may have go wrong: at some messages of one kind, counted from when it is switched on."""

from __future__ import annotations

from dataclasses import dataclass, field

HOW = ("delay", "cut", "drop", "late", "refuse")
"""Wait before the effect; cut the line before it; cut the line after it; wait after it; refuse.

Of subscriptions only two: the line is cut, or nothing is told.
"""


@dataclass
class Fault:
    """One of them.

    Args:
        how: one of HOW.
        kind: of the messages; empty is any.
        first: the first one that is hit, counted from one.
        count: so many in a row are.
        seconds: how long to wait.
        status: of the refusal.
        text: of the refusal.
        caller: identity of who asks; empty is anybody.
    """

    how: str
    kind: str = ""
    first: int = 1
    count: int = 1
    seconds: float = 0.0
    status: int = 500
    text: str = "pq: the database system is shutting down"
    caller: str = ""
    seen: int = field(default=0, init=False)
    hit: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.how not in HOW:
            raise ValueError(f"no fault: {self.how}")

    def hits(self, kind: str, caller: str) -> bool:
        """Whether it is this message's turn."""
        if self.kind not in ("", kind) or self.caller not in ("", caller):
            return False
        self.seen += 1
        turn = self.first <= self.seen < self.first + self.count
        self.hit += turn
        return turn
