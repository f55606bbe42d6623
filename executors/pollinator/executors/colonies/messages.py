"""What a Colonies server says, read with patience.

Lists may be null, times may be of the year 1, states and fields may be new.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import IntEnum
from typing import Any, cast

Json = Mapping[str, Any]


class State(IntEnum):
    """State of a process. A server may know more of them."""

    WAITING = 0
    RUNNING = 1
    SUCCESS = 2
    FAILED = 3
    CANCELLED = 4


ENDED = frozenset({State.SUCCESS, State.FAILED, State.CANCELLED})
IN, OUT, ERR, ENV = range(4)
"""Types of attributes."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process."""

    id: str
    state: int
    """One of ``State``, or what is not known here."""
    executor_id: str
    """Identity of the executor that has it, or empty."""
    spec: Json
    """Its function spec."""
    attributes: Mapping[str, str]
    """Those of type ENV, which executors set as well."""
    errors: tuple[str, ...]
    output: tuple[Any, ...]
    retries: int
    initiator: str
    """Name of the member who submitted it."""
    submitted: datetime | None
    started: datetime | None
    ended: datetime | None
    exec_deadline: datetime | None

    @property
    def has_ended(self) -> bool:
        """Nothing more happens to it."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class LogRow:
    """A piece of what a process printed."""

    message: str
    time_ns: int
    """Nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """The newest revision of a file in one label, as it is listed."""

    name: str
    checksum: str
    """SHA-256, 64 hexadecimal digits."""
    size: int
    object: str = ""
    """Name of the object that has its bytes."""


@dataclass(frozen=True, slots=True)
class File:
    """One revision of a file."""

    id: str
    label: str
    name: str
    size: int
    checksum: str
    object: str
    """Name of the object that has its bytes."""
    sequence: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Files of a label and those below it, as they were at one moment."""

    id: str
    name: str
    label: str
    file_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Executor:
    """An executor of a colony."""

    id: str
    name: str
    type: str
    state: int
    """0 waits for approval, 1 is approved, 2 was rejected, 3 is gone."""
    last_heard: datetime | None
    software: Mapping[str, str]
    """What it says it is made of: names, and the type of each."""
    location: str = ""
    """Where it says it is."""


def process_of(message: Json) -> Process:
    """A process."""
    return Process(
        id=_text(message, "processid"),
        state=_number(message, "state"),
        executor_id=_text(message, "assignedexecutorid"),
        spec=one(message.get("spec")),
        attributes={
            _text(each, "key"): _text(each, "value")
            for each in objects(message.get("attributes"))
            if _number(each, "attributetype") == ENV
        },
        errors=tuple(str(each) for each in items(message.get("errors"))),
        output=tuple(items(message.get("out"))),
        retries=_number(message, "retries"),
        initiator=_text(message, "initiatorname"),
        submitted=moment(message.get("submissiontime")),
        started=moment(message.get("starttime")),
        ended=moment(message.get("endtime")),
        exec_deadline=moment(message.get("execdeadline")),
    )


def log_of(message: Json) -> LogRow:
    """A row of a log."""
    return LogRow(_text(message, "message"), _number(message, "timestamp"))


def row_of(message: Json) -> FileRow:
    """A row of a list of files."""
    return FileRow(
        name=_text(message, "name"),
        checksum=_text(message, "checksum").lower(),
        size=_number(message, "size"),
        object=_text(message, "s3filename"),
    )


def file_of(message: Json) -> File:
    """A revision of a file."""
    return File(
        id=_text(message, "fileid"),
        label=_text(message, "label"),
        name=_text(message, "name"),
        size=_number(message, "size"),
        checksum=_text(message, "checksum").lower(),
        object=_text(one(one(message.get("ref")).get("s3object")), "object"),
        sequence=_number(message, "sequencenr"),
    )


def snapshot_of(message: Json) -> Snapshot:
    """A snapshot."""
    ids = tuple(str(each) for each in items(message.get("fileids")))
    return Snapshot(_text(message, "snapshotid"), _text(message, "name"), _text(message, "label"), ids)


def executor_of(message: Json) -> Executor:
    """An executor. What it is made of is a list since 1.9.6, and an object before."""
    capabilities = one(message.get("capabilities"))
    software = capabilities.get("software")
    parts = objects(software) or [one(software)]
    return Executor(
        id=_text(message, "executorid"),
        name=_text(message, "executorname"),
        type=_text(message, "executortype"),
        state=_number(message, "state"),
        last_heard=moment(message.get("lastheardfromtime")),
        software={_text(each, "name"): _text(each, "type") for each in parts if each},
        location=_text(message, "locationname"),
    )


def objects(answer: Any) -> Sequence[Json]:
    """The objects of a list, which may be null."""
    return [one(each) for each in items(answer) if isinstance(each, dict)]


def one(answer: Any) -> Json:
    """An object; an empty one for anything else."""
    return cast("Json", answer) if isinstance(answer, dict) else {}


def items(answer: Any) -> Sequence[Any]:
    """Whatever is in a list, which may be null."""
    return cast("Sequence[Any]", answer) if isinstance(answer, list) else []


_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d)(?::(\d\d))?)",
)


def moment(text: object) -> datetime | None:
    """A time with nanoseconds and the zone of the server; None for the year 1, which stands for never."""
    found = _TIME.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[1]) <= 1:
        return None
    year, month, day, hour, minute, second = (int(found[at]) for at in range(1, 7))
    fraction = int((found[7] or "").ljust(6, "0")[:6])
    away = timedelta(hours=int(found[9] or 0), minutes=int(found[10] or 0), seconds=int(found[11] or 0))
    try:
        zone = timezone(-away if found[8] == "-" else away)
        return datetime(year, month, day, hour, minute, second, fraction, zone)
    except ValueError:
        return None


def _text(message: Json, name: str) -> str:
    value = message.get(name)
    return value if isinstance(value, str) else ""


def _number(message: Json, name: str) -> int:
    value = message.get(name)
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else 0
    return value if isinstance(value, int) else 0
