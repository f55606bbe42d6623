"""Refusals: a status and a text."""

from __future__ import annotations


class Refusal(Exception):
    """What was asked is refused.

    Args:
        status: of the answer.
        text: for people.
        twice: a defect of the server: the refusal is sent twice, one behind the other.
    """

    def __init__(self, status: int, text: str, *, twice: bool = False) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.twice = twice


def storable(*texts: str, status: int = 400, twice: bool = False) -> None:
    """Raises Refusal for what the database does not take."""
    if any("\0" in each for each in texts):
        raise Refusal(status, 'pq: invalid byte sequence for encoding "UTF8": 0x00', twice=twice)
