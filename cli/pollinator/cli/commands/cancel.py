"""``pollinator cancel``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pollinator.cli.group import Command
from pollinator.cli.options import complete_runs, json_option

if TYPE_CHECKING:
    from pollinator.cli.terminal import Terminal


@click.command(
    "cancel",
    cls=Command,
    short_help="End runs before their time.",
    examples=(
        "pollinator cancel latest",
        "pollinator cancel --wait 01jb2 01jb3",
    ),
)
@click.option("--wait", "wait", is_flag=True, help="Return when they have ended.")
@json_option("Print each run as a JSON object, one a line.")
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_runs)
def cancel_command(run_ids: tuple[str, ...], wait: bool, as_json: bool) -> int:
    """End runs before their time. What they have left in `result` comes home.

    The job gets SIGTERM, and SIGKILL after a grace period. A run that has ended already stays as it is.
    """
    from pollinator.cli.session import run_async
    from pollinator.cli.terminal import Terminal

    return run_async(_cancel(run_ids, Terminal(), wait=wait, as_json=as_json))


async def _cancel(run_ids: tuple[str, ...], terminal: Terminal, *, wait: bool, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.folder import project_or_any
    from pollinator.cli.follow import cancel_run, find_run
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.view import ENDS
    from pollinator.cli.watching import until_ended
    from pollinator.cli.words import state_word

    async with connected(terminal) as daemon:
        root = project_or_any()
        # All ids are looked up first: a typo in the last one cancels nothing.
        runs = [await find_run(daemon, each, root) for each in run_ids]
        for each in runs:
            run = await cancel_run(daemon, each.id)
            if run.state in ENDS:
                terminal.say(f"Process had ended already: {state_word(run.state)}", ProcessID=run.id)
            else:
                terminal.say("Cancel requested", ProcessID=run.id)
            if wait:
                run = await until_ended(daemon, terminal, run)
            if as_json:
                terminal.print(json_text(plain(run)))
    return int(Exit.OK)
