"""Quantities as people write them: Kubernetes' for CPU and memory, several usual forms for durations."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,9})?"
_CLOCK = r"(?:([0-9]{1,6})-)?([0-9]{1,9}):([0-9]{1,2})(?::([0-9]{1,2}))?"
_SPAN = rf"({_NUMBER})(ms|s|m|h|d)"

CPU = rf"({_NUMBER})(m?)"
"""Pattern of an amount of CPU."""
BYTES = rf"({_NUMBER}) *([KMGTP]i?|k)?B?"
"""Pattern of an amount of memory."""
DURATION = rf"{_NUMBER}|{_CLOCK}|(?:{_SPAN})+"
"""Pattern of a duration."""
MOST = 10**18 - 1

_BYTE_UNITS = (
    {"": 1, "k": 1000}
    | {f"{letter}i": 1024**power for power, letter in enumerate("KMGTP", 1)}
    | {letter: 1000**power for power, letter in enumerate("KMGTP", 1)}
)
_SPAN_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_cpu(text: str) -> int:
    """Thousandths of a core: ``500m`` is 500, ``2`` is 2000, ``0.5`` is 500.

    Raises:
        ValueError: with a sentence that says what to write.
    """
    match = re.fullmatch(CPU, text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not an amount of CPU; write 500m or 2")
    number, milli = match.groups()
    millis = Decimal(number) * (1 if milli else 1000)
    if millis != int(millis):
        raise ValueError(f"{text!r} is finer than a thousandth of a core")
    return _whole(text, millis)


def parse_bytes(text: str) -> int:
    """Bytes: ``1000Mi``, ``4Gi``, ``1.5G``, ``1048576``.

    Raises:
        ValueError: with a sentence that says what to write.
    """
    match = re.fullmatch(BYTES, text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not an amount of memory; write 1000Mi or 4Gi")
    number, unit = match.groups()
    return _whole(text, Decimal(number) * _BYTE_UNITS[unit or ""])


def parse_duration_ms(text: str) -> int:
    """Milliseconds: ``600`` (seconds), ``10m``, ``1h30m``, ``1d``, ``MM:SS``, ``HH:MM:SS``, ``D-HH:MM[:SS]``.

    Raises:
        ValueError: with a sentence that says what to write.
    """
    words = text.strip()
    if re.fullmatch(_NUMBER, words):
        return _whole(text, Decimal(words) * 1000)
    if clock := re.fullmatch(_CLOCK, words):
        days, first, second, third = (int(part or 0) for part in clock.groups())
        # Two numbers are minutes and seconds, behind days hours and minutes: as schedulers read them.
        hours = clock[4] is not None or clock[1] is not None
        h, m, s = (first, second, third) if hours else (0, first, second)
        if second < 60 and third < 60:
            return _whole(text, Decimal(days * 86_400 + h * 3600 + m * 60 + s) * 1000)
    elif re.fullmatch(f"(?:{_SPAN})+", words):
        parts = re.findall(_SPAN, words)
        return _whole(
            text, sum((Decimal(number) * _SPAN_UNITS_MS[unit] for number, unit in parts), Decimal())
        )
    raise ValueError(f"{text!r} is not a duration; write 600, 10m, 1h30m or 01:30:00")


def _whole(text: str, amount: Decimal) -> int:
    """Rounded up: the little that was asked for must not become 0, which asks for nothing."""
    if amount > MOST:
        raise ValueError(f"{text!r} is more than there can be")
    return int(amount.to_integral_value(ROUND_CEILING))


def format_cpu(millis: int) -> str:
    """``1000m`` style, as the original writes it."""
    return f"{millis}m"


def format_bytes(number: int) -> str:
    """With the largest binary unit that gives a whole number."""
    for power, letter in reversed(list(enumerate("KMGTP", 1))):
        if number and number % 1024**power == 0:
            return f"{number // 1024**power}{letter}i"
    return str(number)


def format_duration(milliseconds: int) -> str:
    """``1h30m`` style; whole seconds where that is exact."""
    rest = milliseconds
    parts: list[str] = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, _SPAN_UNITS_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
