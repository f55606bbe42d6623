"""What ``pollinator new`` writes. Nothing that exists is ever touched; no daemon is needed."""

from __future__ import annotations

import errno
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pollinator.cli.folder import find_project
from pollinator.cli.schema_file import install_schema
from pollinator.cli.terminal import Terminal
from pollinator.wire.errors import (
    AlreadyExists,
    Denied,
    Exhausted,
    InvalidInput,
    PollinatorError,
    Violation,
)
from pollinator.wire.places import PROJECT_FILE

LOCAL = "local"
_IMAGE = "python:3.12-rc-bookworm"
_DATA = Path(__file__).parent / "data"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_PLAIN_YAML = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
_HARMLESS = {".git"}
"""A folder that holds only this is as good as empty."""

_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


@dataclass(frozen=True, slots=True)
class Plan:
    """A project to be made."""

    directory: Path
    executor: str
    name: str
    """Empty for one made of the folder's name."""
    here: bool
    """Add only what is missing to a folder that may hold files."""


def make_project(plan: Plan, terminal: Terminal) -> bool:
    """Write a project's first files; False when nothing was missing.

    Raises:
        InvalidInput: the name cannot be used, or the folder belongs to the files of another project.
        AlreadyExists: the folder is not empty, and nothing was said about adding to it.
        Denied: something cannot be written.
        Exhausted: the disk is full.
    """
    try:
        _check(plan)
        return _write_all(plan, terminal)
    except OSError as error:
        text = f"cannot write {error.filename or plan.directory}: {error.strerror}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            hint = "free some space; pollinator new --here then adds what is missing"
            raise Exhausted(text, reason="disk_full", hint=hint) from error
        raise Denied(text, reason="cannot_write") from error


def project_name(directory: Path) -> str:
    """A readable name that no other project has."""
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", directory.resolve().name).strip("-._").lower() or "project"
    return f"{readable[:48]}-{secrets.token_hex(4)}"


def project_text(name: str, executor: str, schema: str) -> str:
    """project.yaml."""
    if executor == LOCAL:
        docker = f"  # docker: {_IMAGE}      # run in this image where there is a container engine"
    else:
        docker = f"  docker: {_IMAGE}"
    text = (_DATA / "project.yaml").read_text("utf-8")
    values = {"SCHEMA": schema, "NAME": _scalar(name), "EXECUTOR": _scalar(executor), "DOCKER": docker}
    # One pass: a value that looks like a mark stays what it is.
    return "".join(values.get(part, part) if at % 2 else part for at, part in enumerate(text.split("@")))


def _check(plan: Plan) -> None:
    if plan.name and not _NAME.fullmatch(plan.name):
        raise InvalidInput(
            f"{plan.name!r} cannot be the name of a project",
            reason="bad_name",
            violations=[Violation("--name", "use letters, digits, dots, dashes and underscores")],
        )
    if not plan.executor.isprintable() or not plan.executor.strip():
        raise InvalidInput(f"{plan.executor!r} cannot be the name of an executor", reason="bad_name")
    directory = plan.directory
    _check_place(directory.resolve())
    if directory.exists() and not directory.is_dir():
        raise AlreadyExists(f"{directory} is a file", reason="not_a_directory", hint="name another folder")
    if plan.here or not directory.exists():
        return
    if any(each.name not in _HARMLESS for each in directory.iterdir()):
        raise AlreadyExists(
            f"{directory.resolve()} is not empty",
            reason="directory_not_empty",
            hint="name a new folder, or add only what is missing: pollinator new --here",
        )


def _check_place(directory: Path) -> None:
    outer = find_project(directory.parent)
    if outer is not None and directory.is_relative_to(outer / "cfs"):
        raise InvalidInput(
            f"{directory} is among the files of the project in {outer}, which go along with each of its runs",
            reason="inside_project",
            hint=f"name a folder that is not in {outer / 'cfs'}",
        )


def _write_all(plan: Plan, terminal: Terminal) -> bool:
    root, made = plan.directory, False
    for tree in ("src", "data", "result"):
        folder = root / "cfs" / tree
        if not folder.is_dir():
            folder.mkdir(mode=0o755, parents=True)
            made = True
            terminal.say("Creating directory", Dir=_shown(folder))
    name = plan.name or project_name(root)
    files: dict[Path, Callable[[], str]] = {
        root / PROJECT_FILE: lambda: project_text(name, plan.executor, _schema_address(terminal)),
        root / ".pollinatorignore": lambda: (_DATA / "pollinatorignore").read_text("utf-8"),
        root / "cfs" / "data" / "hello.txt": lambda: "Hello world!",
        root / "cfs" / "src" / "main.py": lambda: (_DATA / "main.py.template").read_text("utf-8"),
    }
    # With files in src already, the project has a job of its own.
    has_source = plan.here and any((root / "cfs" / "src").iterdir())
    for path, text in files.items():
        if has_source and path.name == "main.py":
            continue
        if not path.exists() and not path.is_symlink():
            _write(path, text())
            made = True
            terminal.say("Generating", Filename=_shown(path))
    return made


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise
    except OSError:
        # Half a file would count as there the next time.
        path.unlink(missing_ok=True)
        raise


def _schema_address(terminal: Terminal) -> str:
    try:
        return install_schema().resolve().as_uri()
    except (OSError, PollinatorError) as error:
        terminal.warn(f"editors will not check project.yaml: {error}")
        return (_DATA / "project.schema.json").resolve().as_uri()


def _shown(path: Path) -> str:
    return str(path) if path.is_absolute() else f"./{path}"


def _scalar(text: str) -> str:
    plain = _PLAIN_YAML.fullmatch(text) and text.lower() not in _YAML_WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)
