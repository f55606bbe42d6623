"""Messages of the protocol as JSON with stable, lower-case keys.

Not protobuf's own JSON: that writes 64-bit numbers as text, digests as base64 and enum values by their long
names. Here numbers are numbers, digests are hex, enum values are lower-case words, times are RFC 3339 in UTC,
durations are seconds under ``<name>_s``, and a message that is not set is null. Keys never disappear.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from google.protobuf.message import Message

Plain = dict[str, Any]
"""Ready for ``json.dumps``."""

_DURATION = "google.protobuf.Duration"


def json_text(value: object) -> str:
    """One line of JSON; escaped where a path is no valid UTF-8."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


def plain(message: Message) -> Plain:
    """A message as a JSON object."""
    from google.protobuf.message import Message

    result: Plain = {}
    for field in message.DESCRIPTOR.fields:
        kind, enum = field.message_type, field.enum_type
        key = f"{field.name}_s" if kind is not None and kind.full_name == _DURATION else field.name
        names = {number: each.name for number, each in enum.values_by_number.items()} if enum else {}
        value = getattr(message, field.name)
        if isinstance(value, Mapping):
            entries = cast("Mapping[str, object]", value)
            result[key] = {name: _value(field.name, entries[name], {}) for name in sorted(entries)}
        elif not isinstance(value, (Message, str, bytes, int, float)):
            result[key] = [_value(field.name, each, names) for each in value]
        elif isinstance(value, Message) and not message.HasField(field.name):
            result[key] = None
        else:
            result[key] = _value(field.name, value, names)
    return result


def _value(name: str, value: Any, enum_names: Mapping[int, str]) -> object:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

    match value:
        case Timestamp():
            return value.ToDatetime(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case Duration():
            return value.ToNanoseconds() / 1e9
        case Message():
            return plain(value)
        case bytes():
            return value.hex() if name == "digest" else value.decode("utf-8", "surrogateescape")
        case int() if enum_names:
            return _enum_word(value, enum_names)
        case _:
            return value


def _enum_word(number: int, names: Mapping[int, str]) -> str:
    """``running`` for RUN_STATE_RUNNING; empty for what is not set; the number of what a newer peer knows."""
    prefix = names[0].removesuffix("UNSPECIFIED")
    word = names.get(number, str(number)).removeprefix(prefix).lower()
    return "" if word == "unspecified" else word
