"""What differs between two runs, as lines: settings first, then files, of small texts how."""

from __future__ import annotations

import os

from pollinator.cli.terminal import CYAN, GREEN, RED, Terminal, painted
from pollinator.cli.words import bytes_text
from pollinator.v1.project_pb2 import ChangeKind, DiffRunsResponse, FileChange

_COLOURS = {"+": GREEN, "-": RED, "@": CYAN}


def print_changes(answer: DiffRunsResponse, terminal: Terminal, *, name_only: bool = False) -> None:
    """Each setting and file that differs; of small texts how, unless only names are wished."""
    for change in answer.settings:
        terminal.print(f"{change.name}: {change.base_value or '(none)'} -> {change.value or '(none)'}")
    for file in answer.files:
        _print_file(file, terminal)
        if not name_only:
            _print_text(file.text_diff, terminal)
    if not answer.settings and not answer.files:
        other = f"run {answer.run_id}" if answer.run_id else "what is on disk now"
        terminal.say(f"Nothing differs between run {answer.base_run_id} and {other}.")


def _print_file(file: FileChange, terminal: Terminal) -> None:
    path = os.fsdecode(file.path)
    match file.kind:
        case ChangeKind.CHANGE_KIND_ADDED:
            terminal.print(f"A {path}  {bytes_text(file.size)}")
        case ChangeKind.CHANGE_KIND_REMOVED:
            terminal.print(f"D {path}  {bytes_text(file.base_size)}")
        case _:
            terminal.print(f"M {path}  {bytes_text(file.base_size)} -> {bytes_text(file.size)}")


def _print_text(text: str, terminal: Terminal) -> None:
    for line in text.splitlines():
        terminal.print(
            "  " + painted(line, _COLOURS.get(line[:1], ""), terminal.colour_out and line[:1] in _COLOURS)
        )
