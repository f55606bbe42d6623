"""Quantities as people write them: Kubernetes' for CPU and memory, several usual forms for durations."""

from __future__ import annotations

import re
from decimal import Decimal

_CPU = re.compile(r"(\d+(?:\.\d+)?)(m?)")
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*(Ki|Mi|Gi|Ti|Pi|k|K|M|G|T|P)?(?:i?B)?")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d{1,2})(?::(\d{1,2}))?")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")

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
    match = _CPU.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not an amount of CPU; write 500m or 2")
    number, milli = match.groups()
    millis = Decimal(number) * (1 if milli else 1000)
    if millis != int(millis):
        raise ValueError(f"{text!r} is finer than a thousandth of a core")
    return int(millis)


def parse_bytes(text: str) -> int:
    """Bytes: ``1000Mi``, ``4Gi``, ``1.5G``, ``1048576``.

    Raises:
        ValueError: with a sentence that says what to write.
    """
    match = _BYTES.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not an amount of memory; write 1000Mi or 4Gi")
    number, unit = match.groups()
    return int(Decimal(number) * _BYTE_UNITS[unit or ""])


def parse_duration_ms(text: str | float) -> int:
    """Milliseconds: ``600`` (seconds), ``10m``, ``1h30m``, ``1d``, ``HH:MM:SS``, ``D-HH:MM:SS``.

    Raises:
        ValueError: with a sentence that says what to write.
    """
    words = str(text).strip()
    if re.fullmatch(r"\d+(\.\d+)?", words):
        return int(Decimal(words) * 1000)
    clock = _CLOCK.fullmatch(words)
    if clock is not None:
        days, first, second, third = (int(part or 0) for part in clock.groups())
        if second < 60 and third < 60:
            hms = (first, second, third) if clock[4] is not None else (0, first, second)
            return (days * 86_400 + hms[0] * 3600 + hms[1] * 60 + hms[2]) * 1000
    if _SPAN.sub("", words) or not words:
        raise ValueError(f"{words!r} is not a duration; write 600, 10m, 1h30m or 01:30:00")
    return int(sum(Decimal(number) * _SPAN_UNITS_MS[unit] for number, unit in _SPAN.findall(words)))


def format_cpu(millis: int) -> str:
    """``1000m`` style, as the original writes it."""
    return f"{millis}m"


def format_bytes(number: int) -> str:
    """With the largest binary unit that gives a whole number of at most four digits."""
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
