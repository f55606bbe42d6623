"""The daemon's settings: each with its default, its place in the user's file and its variable.

Values come from ``config.yaml`` in the user's configuration folder, and variables win over the file. What is
in force and where it came from is shown by ``pollinator config show``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from pollinator.v1.daemon_pb2 import Setting
from pollinator.wire import places
from pollinator.wire.errors import InvalidInput, Violation

CONFIG_FILE = "config.yaml"


def _level(text: str) -> str:
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("write DEBUG, INFO, WARNING or ERROR")
    return text.upper()


def _positive(text: str) -> str:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("write a whole number of at least 1")
    return text


@dataclass(frozen=True, slots=True)
class _Known:
    default: str
    description: str
    parse: Callable[[str], str]


_KNOWN = {
    "log_level": _Known("INFO", "least severity that the daemon writes to its log", _level),
    "log_bytes": _Known("10000000", "size in bytes at which the log is rotated", _positive),
    "log_files": _Known("5", "number of rotated logs that are kept", _positive),
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
        known = _KNOWN.get(name)
        if known is None:
            violations.append(Violation(where, f"unknown setting {name!r}; known are {', '.join(_KNOWN)}"))
            continue
        try:
            values[name].value = known.parse(value)
            values[name].origin = where
        except ValueError as error:
            violations.append(Violation(where, f"{name}: {error}, not {value!r}"))
    if violations:
        raise InvalidInput("the settings are not right", reason="bad_settings", violations=violations)
    return Settings(values)


def _from_file(path: Path, violations: list[Violation]) -> list[tuple[str, str, str]]:
    try:
        document = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except FileNotFoundError:
        return []
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        violations.append(Violation(where, error.problem or "not YAML"))
        return []
    if document is None:
        return []
    if not isinstance(document, yaml.MappingNode):
        violations.append(Violation(f"{path}:1:1", "write lines like `log_level: INFO`"))
        return []
    found: list[tuple[str, str, str]] = []
    for key, value in document.value:
        where = f"{path}:{key.start_mark.line + 1}:{key.start_mark.column + 1}"
        if isinstance(key, yaml.ScalarNode) and isinstance(value, yaml.ScalarNode):
            found.append((str(key.value), str(value.value), where))
        else:
            violations.append(Violation(where, "write one plain value"))
    return found


def _from_environment(environ: Mapping[str, str]) -> list[tuple[str, str, str]]:
    return [
        (name, environ[variable], f"environment {variable}")
        for name in _KNOWN
        if (variable := f"POLLINATOR_{name.upper()}") in environ
    ]
