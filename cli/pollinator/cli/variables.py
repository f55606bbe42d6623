"""Values that a user hands to a run: ``--env`` and ``--secret-file``. No message repeats a secret."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pollinator.wire.errors import InvalidInput, Violation

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse_environment(given: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Variables of ``NAME=VALUE``, or ``NAME`` alone for the caller's own value.

    Raises:
        InvalidInput: one is neither.
    """
    result: dict[str, str] = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not _NAME.fullmatch(name):
            raise _wrong("--env", f"write NAME=VALUE; {name!r} is no name of a variable")
        if not equals and name not in environ:
            raise _wrong("--env", f"{name} has no value here: write {name}=VALUE")
        result[name] = value if equals else environ[name]
    return result


def read_secrets(path: str) -> dict[str, str]:
    """Secrets of a file with a ``NAME=VALUE`` a line; ``-`` reads stdin.

    Raises:
        InvalidInput: it cannot be read or a line is something else.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except OSError as error:
        raise _wrong("--secret-file", f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise _wrong("--secret-file", f"{path} is no UTF-8 text") from None
    return parse_secrets(text, path)


def parse_secrets(text: str, filename: str) -> dict[str, str]:
    """Secrets of lines such as ``NAME=VALUE``; blank lines, ``# comments`` and ``export `` are allowed.

    Raises:
        InvalidInput: a line is something else. The message names the place, never what is written there.
    """
    result: dict[str, str] = {}
    for number, written in enumerate(text.splitlines(), start=1):
        line = written.strip().removeprefix("export ").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise _wrong(f"{filename}:{number}:1", "write NAME=VALUE")
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        result[name] = value
    return result


def open_to_others(path: str) -> bool:
    """Other users of this machine may read the file."""
    return path != "-" and bool(Path(path).stat().st_mode & 0o044)


def _wrong(where: str, message: str) -> InvalidInput:
    return InvalidInput(
        "a variable cannot be read", reason="bad_variable", violations=[Violation(where, message)]
    )
