"""Messages of the protocol as JSON with stable, lower-case keys.

Not protobuf's own JSON: that writes 64-bit numbers as text, digests as base64 and enum values by their long
names. Here numbers are numbers, digests are hex, enum values are lower-case words, times are RFC 3339 in UTC,
durations are seconds under ``<name>_s``, and a message that is not set is null. Keys never disappear.
"""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
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
        is_duration = field.message_type is not None and field.message_type.full_name == _DURATION
        key = f"{field.name}_s" if is_duration else field.name
        value = getattr(message, field.name)
        if not isinstance(value, (Message, str, bytes, int, float)):
            result[key] = [_value(field, each) for each in value]
        elif field.message_type is not None and not message.HasField(field.name):
            result[key] = None
        else:
            result[key] = _value(field, value)
    return result


def _value(field: _Field, value: Any) -> object:
    if field.message_type is not None:
        match field.message_type.full_name:
            case "google.protobuf.Timestamp":
                moment = value.ToDatetime(UTC)
                return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            case "google.protobuf.Duration":
                return value.ToNanoseconds() / 1e9
            case _:
                return plain(value)
    if field.enum_type is not None:
        return _enum_word(field, value)
    if isinstance(value, bytes):
        return value.hex() if field.name == "digest" else value.decode("utf-8", "surrogateescape")
    return value


def _enum_word(field: FieldDescriptor, number: int) -> str:
    named = field.enum_type.values_by_number.get(number)
    if named is None:
        return str(number)
    prefix = field.enum_type.values_by_number[0].name.removesuffix("UNSPECIFIED")
    word = named.name.removeprefix(prefix).lower()
    return "" if word == "unspecified" else word
