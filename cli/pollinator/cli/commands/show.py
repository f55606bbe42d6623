"""``pollinator show``."""

from __future__ import annotations

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, run_argument


@click.command(
    "show",
    cls=Command,
    short_help="Show everything about a run.",
    examples=("pollinator show latest", "pollinator show 01jb2 --json"),
)
@json_option()
@run_argument(default="latest")
def show_command(run_id: str, as_json: bool) -> int:
    """Show everything about a run, the newest of this project when RUN is left out.

    State, why it waits or how it ended and what to do, times, resources asked for and used, notices.
    """
    from pollinator.cli.session import run_async

    return run_async(_show(run_id, as_json=as_json))


async def _show(run_id: str, *, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.describe import describe_run
    from pollinator.cli.exits import Exit
    from pollinator.cli.folder import project_or_any
    from pollinator.cli.follow import find_run
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    async with connected(terminal) as daemon:
        run = await find_run(daemon, run_id, project_or_any())
    if as_json:
        terminal.print(json_text(plain(run)))
    else:
        for line in describe_run(run):
            terminal.print(line)
    return int(Exit.OK)
