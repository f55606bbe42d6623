"""Ids of runs: 26 characters that sort by time, as ULIDs do, in lower case."""

from __future__ import annotations

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
RANDOM_BYTES = 10


def run_id(time_ms: int, randomness: bytes) -> str:
    """An id from the milliseconds since 1970 (48 bits) and 10 random bytes.

    Raises:
        ValueError: the time or the randomness does not fit.
    """
    if not 0 <= time_ms < 1 << 48:
        raise ValueError(f"{time_ms} ms does not fit in 48 bits")
    if len(randomness) != RANDOM_BYTES:
        raise ValueError(f"{RANDOM_BYTES} random bytes are needed, not {len(randomness)}")
    number = time_ms << 80 | int.from_bytes(randomness, "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def time_of(made: str) -> int:
    """The milliseconds since 1970 in an id that ``run_id`` has made."""
    number = 0
    for letter in made[:10]:
        number = number << 5 | _ALPHABET.index(letter)
    return number
