"""Slurm's short form of many host names, such as ``n[1-3,07],gpu-[a,b]-ib``. Standard library only."""

from __future__ import annotations

import re
from itertools import product

_PARTS = re.compile(r"\[([^\]]*)\]")
_SPLIT = re.compile(r",(?![^\[]*\])")
"""Commas that are not in brackets."""


def hostnames(text: str) -> tuple[str, ...]:
    """The names, in the order in which Slurm counts its nodes."""
    return tuple(name for each in _SPLIT.split(text.strip()) if each for name in _names(each))


def _names(one: str) -> list[str]:
    # Every second piece was in brackets.
    pieces = _PARTS.split(one)
    choices = [_range(piece) if number % 2 else [piece] for number, piece in enumerate(pieces)]
    return ["".join(chosen) for chosen in product(*choices)]


def _range(inside: str) -> list[str]:
    found: list[str] = []
    for each in inside.split(","):
        low, dash, high = each.partition("-")
        if dash and low.isdigit() and high.isdigit():
            found += [f"{number:0{len(low)}d}" for number in range(int(low), int(high) + 1)]
        else:
            found.append(each)
    return found
