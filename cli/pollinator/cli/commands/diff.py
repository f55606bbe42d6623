"""``pollinator diff``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from pollinator.cli.group import Command
from pollinator.cli.options import complete_runs, json_option, run_argument

if TYPE_CHECKING:
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.project_pb2 import DiffRunsResponse, FileChange


@click.command(
    "diff",
    cls=Command,
    short_help="Show what changed between two runs.",
    examples=(
        "pollinator diff latest",
        "pollinator diff latest~1 latest",
        "pollinator diff --name-only 01jb2 01jb3",
    ),
)
@click.option("--name-only", is_flag=True, help="Only names, no text.")
@json_option()
@run_argument()
@click.argument("other", metavar="[OTHER]", required=False, default="", shell_complete=complete_runs)
def diff_command(run_id: str, other: str, name_only: bool, as_json: bool) -> int:
    """Show what changed from RUN to OTHER in settings and files; without OTHER, to what is on disk now."""
    from pollinator.cli.session import run_async

    return run_async(_diff(run_id, other, name_only=name_only, as_json=as_json))


async def _diff(base: str, other: str, *, name_only: bool, as_json: bool) -> int:
    from pollinator.cli.connect import LONG_S, connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.folder import project_or_any
    from pollinator.cli.follow import find_run
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.project_pb2 import DiffRunsRequest

    terminal = Terminal()
    async with connected(terminal) as daemon:
        root = project_or_any()
        request = DiffRunsRequest(base_run_id=(await find_run(daemon, base, root)).id)
        if other:
            request.run_id = (await find_run(daemon, other, root)).id
        answer = await daemon.ask(daemon.projects.DiffRuns, request, timeout_s=LONG_S)
    if as_json:
        terminal.print(json_text(plain(answer)))
    elif answer.settings or answer.files:
        print_changes(answer, terminal, name_only=name_only)
    else:
        terminal.say("Nothing differs.")
    return int(Exit.OK)


def print_changes(answer: DiffRunsResponse, terminal: Terminal, *, name_only: bool) -> None:
    """Each setting and file that differs; of small texts how, unless only names are wished."""
    for change in answer.settings:
        terminal.print(f"{change.name}: {change.base_value or '(none)'} -> {change.value or '(none)'}")
    for file in answer.files:
        _print_file(file, terminal)
        if not name_only:
            _print_text(file.text_diff, terminal)


def _print_file(file: FileChange, terminal: Terminal) -> None:
    from pollinator.cli.words import bytes_text
    from pollinator.v1.project_pb2 import ChangeKind

    path = os.fsdecode(file.path)
    match file.kind:
        case ChangeKind.CHANGE_KIND_ADDED:
            terminal.print(f"A {path}  {bytes_text(file.size)}")
        case ChangeKind.CHANGE_KIND_REMOVED:
            terminal.print(f"D {path}  {bytes_text(file.base_size)}")
        case _:
            terminal.print(f"M {path}  {bytes_text(file.base_size)} -> {bytes_text(file.size)}")


def _print_text(text: str, terminal: Terminal) -> None:
    from pollinator.cli.terminal import CYAN, GREEN, RED, painted

    colours = {"+": GREEN, "-": RED, "@": CYAN}
    for line in text.splitlines():
        terminal.print(
            "  " + painted(line, colours.get(line[:1], ""), terminal.colour_out and line[:1] in colours)
        )
