"""What was read from JSON or YAML, of which nothing is known before it is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

Entry = Mapping[str, Any]


def as_entry(value: object) -> Entry:
    """Names with values; empty where it is none."""
    return cast("Entry", value) if isinstance(value, dict) else {}


def as_list(value: object) -> Sequence[object]:
    """A list; empty where it is none."""
    return cast("list[object]", value) if isinstance(value, list) else []


def as_entries(value: object) -> list[Entry]:
    """A list of names with values, without all that is none."""
    return [cast("Entry", each) for each in as_list(value) if isinstance(each, dict)]
