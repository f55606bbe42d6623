"""The daemon's settings: each with its default, its place in the user's file and its variable.

Values come from ``config.yaml`` in the user's configuration folder, and variables win over the file. What is
in force and where it came from is shown by ``pollinator config show``.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from pollinator.chunks.traffic import TRANSFERS
from pollinator.model.document import Document
from pollinator.model.quantity import parse_bytes
from pollinator.v1.daemon_pb2 import Setting
from pollinator.wire import places
from pollinator.wire.errors import InvalidInput, Violation

CONFIG_FILE = "config.yaml"
OFF = "off"
LOOPBACK = "127.0.0.1"
"""Nobody but this machine's users can connect to it."""

UNLIMITED = "none"
LEAST_RATE = 1000
"""In bytes a second: with less nothing would ever arrive."""


def _level(text: str) -> str:
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("write DEBUG, INFO, WARNING or ERROR")
    return text.upper()


def _positive(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,18}", text) or int(text) < 1:
        raise ValueError("write a whole number of at least 1")
    return text


def _address(text: str) -> str:
    """Where to serve: a port alone is for this machine only."""
    if text.lower() in ("", OFF):
        return OFF
    host, colon, port = text.rpartition(":")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535 or bool(host) != bool(colon):
        raise ValueError(f"write {OFF}, a port, or HOST:PORT")
    return f"{host or LOOPBACK}:{port}"


def _rate(text: str) -> str:
    if text != UNLIMITED and parse_bytes(text.removesuffix("/s")) < LEAST_RATE:
        raise ValueError(f"write at least {LEAST_RATE} bytes in a second, such as 20MB, or {UNLIMITED}")
    return text


def _command(text: str) -> str:
    if not shlex.split(text):
        raise ValueError("write a program, and its options where it takes some")
    return text


def _count(text: str) -> str:
    return text if text == "0" else _positive(text)


@dataclass(frozen=True, slots=True)
class _Known:
    default: str
    description: str
    parse: Callable[[str], str]


_KNOWN = {
    "log_level": _Known("INFO", "least severity that the daemon writes to its log", _level),
    "log_bytes": _Known("10000000", "size in bytes at which the log is rotated", _positive),
    "log_files": _Known("5", "number of rotated logs that are kept", _positive),
    "metrics": _Known(OFF, "`PORT` or `HOST:PORT` at which Prometheus finds metrics", _address),
    "upload_limit": _Known(UNLIMITED, "most bytes in a second that go to buckets", _rate),
    "download_limit": _Known(UNLIMITED, "most bytes in a second that come from buckets", _rate),
    "transfers": _Known(str(TRANSFERS), "most objects under way to or from buckets at a time", _positive),
    "keep_runs": _Known("100", "so many of a project's newest runs keep their files and results", _positive),
    "keep_days": _Known("90", "runs younger than so many days keep them as well", _count),
    "collect_every_s": _Known("86400", "seconds between collections of a store's garbage", _positive),
    "collect_grace_s": _Known(
        "86400", "seconds for which nothing is removed; the same for all who use a store", _positive
    ),
    "ssh_command": _Known("ssh", "how ssh is called, such as `ssh -F /path/of/config`", _command),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings in force."""

    values: Mapping[str, Setting]

    @property
    def log_level(self) -> str:
        """Name of the least severity logged."""
        return self.values["log_level"].value

    @property
    def log_bytes(self) -> int:
        """Size in bytes at which the log is rotated."""
        return int(self.values["log_bytes"].value)

    @property
    def log_files(self) -> int:
        """Number of rotated logs kept."""
        return int(self.values["log_files"].value)

    @property
    def metrics(self) -> str:
        """``HOST:PORT`` at which metrics are served; empty when they are not."""
        value = self.values["metrics"].value
        return "" if value == OFF else value

    @property
    def upload_limit(self) -> int:
        """Bytes in a second to all buckets together; 0 for no limit."""
        return self._bytes_per_s("upload_limit")

    @property
    def download_limit(self) -> int:
        """Bytes in a second from all buckets together; 0 for no limit."""
        return self._bytes_per_s("download_limit")

    @property
    def transfers(self) -> int:
        """Objects under way at a time."""
        return self.number("transfers")

    @property
    def ssh_command(self) -> list[str]:
        """How ssh is called."""
        return shlex.split(self.values["ssh_command"].value)

    def _bytes_per_s(self, name: str) -> int:
        text = self.values[name].value
        return 0 if text == UNLIMITED else parse_bytes(text.removesuffix("/s"))

    def number(self, name: str) -> int:
        """A setting that is a whole number."""
        return int(self.values[name].value)


def load_settings(environ: Mapping[str, str] = os.environ, path: Path | None = None) -> Settings:
    """Read the user's file and the variables.

    Raises:
        InvalidInput: a setting is unknown or cannot be meant; each violation says where.
    """
    path = path or places.config_dir() / CONFIG_FILE
    violations: list[Violation] = []
    values = {
        name: Setting(name=name, value=known.default, origin="default", description=known.description)
        for name, known in _KNOWN.items()
    }
    for name, value, where in [*_from_file(path, violations), *_from_environment(environ)]:
        try:
            values[name].value = _KNOWN[name].parse(value)
            values[name].origin = where
        except ValueError as error:
            violations.append(Violation(where, f"{name}: {error}, not {value!r}"))
    if violations:
        raise InvalidInput("the settings are not right", reason="bad_settings", violations=violations)
    return Settings(values)


def _from_file(path: Path, violations: list[Violation]) -> list[tuple[str, str, str]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        violations.append(Violation(str(path), f"cannot be read: {error.strerror}"))
        return []
    if all(line.strip()[:1] in (b"", b"#") for line in data.splitlines()):
        return []
    document = Document(str(path))
    text = document.decode(data)
    top = document.compose(text) if text is not None else None
    found: list[tuple[str, str, str]] = []
    for name, value in document.entries(top, "", _KNOWN, ()).items() if top is not None else ():
        if isinstance(value, yaml.ScalarNode):
            mark = value.start_mark
            found.append((name, str(value.value), f"{path}:{mark.line + 1}:{mark.column + 1}"))
        else:
            document.complain(value, f"{name} takes one plain value")
    violations += document.violations
    return found


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [
        (name, environ[variable], f"environment {variable}")
        for name in _KNOWN
        if (variable := f"POLLINATOR_{name.upper()}") in environ
    ]
