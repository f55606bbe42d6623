"""``pollinator new``."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from pollinator.cli.group import Command
from pollinator.cli.options import complete_executors


@click.command(
    "new",
    cls=Command,
    short_help="Make a new project.",
    examples=(
        "pollinator new demo && cd demo && pollinator run --follow",
        "pollinator new --name heat-study study",
        "pollinator new --here",
    ),
)
@click.option(
    "-e",
    "--executor",
    "-n",
    "--executorname",
    "executor",
    metavar="NAME",
    default="local",
    show_default=True,
    shell_complete=complete_executors,
    help="Where the project runs.",
)
@click.option("--here", is_flag=True, help="Add what is missing to a folder with files; touch none of them.")
@click.option(
    "--name", default="", metavar="NAME", help="Name of the project; default: made of the folder's name."
)
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
def new_command(directory: Path | None, executor: str, here: bool, name: str) -> int:
    """Make a new project in DIR, which is empty or missing; without DIR, in the current folder.

    Writes project.yaml, .pollinatorignore, cfs/src/main.py, cfs/data/hello.txt and the folder cfs/result.
    """
    from pollinator.cli.exits import Exit
    from pollinator.cli.scaffold import Plan, make_project
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    made = make_project(
        Plan(directory=directory or Path(), executor=executor, name=name, here=here), terminal
    )
    if not made:
        terminal.say("Nothing is missing; nothing was changed")
    go = f"cd {shlex.quote(str(directory))} && " if directory else ""
    terminal.say(f"Run it: {go}pollinator run --follow")
    return int(Exit.OK)
