"""``pollinator funcspec``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pollinator.cli.group import Command
from pollinator.cli.options import override_options, project_option


@click.command(
    "funcspec",
    cls=Command,
    short_help="Print what a colony would be given to run.",
    examples=("pollinator funcspec", "pollinator funcspec --set conditions.nodes=3"),
)
@override_options
@click.option("-f", "--follow", is_flag=True, hidden=True, help="Of the original, where it does nothing.")
@project_option()
@click.argument("arguments", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED)
def funcspec_command(project: Path | None, **given: Any) -> int:
    """Print the function spec of a run in a colony, as JSON.

    Nothing is sent, stored or run for this. What is known only once the files are there, such as the id of
    their snapshot, stands in angle brackets.
    """
    from pollinator.cli.folder import project_here
    from pollinator.cli.launch import wishes_of
    from pollinator.cli.rehearsal import show_function_spec
    from pollinator.cli.session import run_async
    from pollinator.cli.terminal import Terminal

    return run_async(show_function_spec(project_here(project), wishes_of(given), Terminal()))
