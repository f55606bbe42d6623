"""``pollinator ignored``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, project_option

if TYPE_CHECKING:
    from pollinator.v1.project_pb2 import IgnoreVerdict


@click.command(
    "ignored",
    cls=Command,
    short_help="Say which paths are left out, and why.",
    examples=(
        "pollinator ignored --why cfs/data/cache",
        "pollinator ignored cfs/src/*",
        "pollinator ignored --json cfs/src/build/",
    ),
)
@click.option("--why", is_flag=True, help="Say of every path what decides: file, line and pattern.")
@project_option()
@json_option("Print one JSON object for each path, one a line.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=bytes))
def ignored_command(why: bool, project: Path | None, as_json: bool, paths: tuple[bytes, ...]) -> int:
    """Print those of the paths that are left out of snapshots; with --why all of them, each with its reason.

    As with `git check-ignore`, the exit code is 0 when at least one path is left out, and 1 when none is.
    Nothing need be at a path; a slash at its end says that a directory is meant.
    """
    from pollinator.cli.folder import project_here
    from pollinator.cli.session import run_async

    return run_async(_ignored(project_here(project), paths, why=why, as_json=as_json))


async def _ignored(root: Path, paths: tuple[bytes, ...], *, why: bool, as_json: bool) -> int:
    import os

    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.project_pb2 import CheckIgnoredRequest

    terminal = Terminal()
    request = CheckIgnoredRequest(root=str(root), paths=[_inside(os.fsencode(root), path) for path in paths])
    async with connected(terminal) as daemon:
        answer = await daemon.ask(daemon.projects.CheckIgnored, request)
    for path, verdict in zip(paths, answer.verdicts, strict=True):
        verdict.path = path
        if as_json:
            terminal.print(json_text(plain(verdict)))
        elif why:
            terminal.print(_line(verdict))
        elif verdict.ignored:
            terminal.print(os.fsdecode(path))
    return int(Exit.OK if any(verdict.ignored for verdict in answer.verdicts) else Exit.FAILED)


def _inside(root: bytes, path: bytes) -> bytes:
    """A path of this shell from the project's folder on; links above that folder are followed, others not."""
    import os

    absolute = os.path.abspath(path)
    if not absolute.startswith(root + b"/"):
        above, name = os.path.split(absolute)
        absolute = os.path.join(os.path.realpath(above), name)
    return os.path.relpath(absolute, root) + (b"/" if path.endswith(b"/") else b"")


def _line(verdict: IgnoreVerdict) -> str:
    import os

    word = "ignored" if verdict.ignored else "kept"
    return f"{word:<7}  {os.fsdecode(verdict.path)}  {_reason(verdict)}"


def _reason(verdict: IgnoreVerdict) -> str:
    import os

    from pollinator.v1.project_pb2 import IgnoreSource

    pattern = verdict.pattern.decode("utf-8", "surrogateescape")
    above = f" (for {os.fsdecode(verdict.above)})" if verdict.above else ""
    match verdict.source:
        case IgnoreSource.IGNORE_SOURCE_FILE:
            return f"{verdict.file}:{verdict.line}:{pattern}{above}"
        case IgnoreSource.IGNORE_SOURCE_BUILT_IN:
            return f"built in: {pattern}{above}"
        case IgnoreSource.IGNORE_SOURCE_OUTSIDE if verdict.above:
            return f"{os.fsdecode(verdict.above)} is a link"
        case IgnoreSource.IGNORE_SOURCE_OUTSIDE:
            return "only cfs/src and cfs/data are sent"
        case _:
            return "no rule"
