"""Messages as Go reads them: what is unknown is dropped, what is missing is zero, types are strict."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

Shape = Callable[[Any], Any]
"""Reads a value of JSON; None is what is null or missing. Raises Unreadable."""

_SURROGATES = re.compile("[\ud800-\udfff]")
_LONG = 1 << 63


class Unreadable(Exception):
    """This is not of the type that it must be."""


def text(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Unreadable
    return _SURROGATES.sub("\ufffd", value)


def whole(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not -_LONG <= value < _LONG:
        raise Unreadable
    return value


def number(value: Any) -> float:
    if value is None:
        return 0
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise Unreadable
    return value


def truth(value: Any) -> bool:
    if value is None:
        return False
    if not isinstance(value, bool):
        raise Unreadable
    return value


def anything(value: Any) -> Any:
    """Numbers become those of 64 bits with a fraction, and lose it again where it is zero."""
    match value:
        case str():
            return text(value)
        case list():
            return [anything(each) for each in _list(value)]
        case dict():
            return {text(name): anything(each) for name, each in _object(value).items()}
        case bool() | None:
            return value
        case _:
            real = float(value)
            return int(real) if math.isfinite(real) and real == int(real) and abs(real) < 1e21 else real


def _list(value: Any) -> list[Any]:
    _check(value, list)
    return list(value)


def _object(value: Any) -> dict[str, Any]:
    _check(value, dict)
    return dict(value)


def _check(value: object, kind: type) -> None:
    if not isinstance(value, kind):
        raise Unreadable


def listed(shape: Shape) -> Shape:
    """A list, or None."""

    def read(value: Any) -> Any:
        if value is None:
            return None
        return [shape(each) for each in _list(value)]

    return read


def mapped(shape: Shape) -> Shape:
    """An object with any names, or None."""

    def read(value: Any) -> Any:
        if value is None:
            return None
        return {text(name): shape(each) for name, each in _object(value).items()}

    return read


def message(**fields: Shape) -> Shape:
    """An object with these names, in letters of any case."""

    def read(value: Any) -> Any:
        given = {} if value is None else _object(value)
        found = {name.lower(): each for name, each in given.items()}
        return {name: shape(found.get(name)) for name, shape in fields.items()}

    return read


def maybe(shape: Shape) -> Shape:
    """Something that may be missing."""
    return lambda value: None if value is None else shape(value)
