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
        "pollinator cancel --all",
    ),
)
@click.option("--wait", "wait", is_flag=True, help="Return when they have ended.")
@click.option("-a", "--all", "everything", is_flag=True, help="All runs of this project that have not ended.")
@json_option("Print each run as a JSON object, one a line.")
@click.argument("run_ids", metavar="[RUN]...", nargs=-1, shell_complete=complete_runs)
def cancel_command(run_ids: tuple[str, ...], wait: bool, everything: bool, as_json: bool) -> int:
    """End runs before their time. What they have left in `result` comes home.

    The job gets SIGTERM, and SIGKILL after a grace period. A run that has ended already stays as it is.
    """
    from pollinator.cli.folder import project_here, project_or_any
    from pollinator.cli.session import run_async
    from pollinator.cli.terminal import Terminal

    if everything == bool(run_ids):
        raise click.UsageError("Name the runs to cancel, or say --all.")
    root = str(project_here()) if everything else project_or_any()
    return run_async(_cancel(run_ids, root, Terminal(), wait=wait, as_json=as_json))


async def _cancel(
    run_ids: tuple[str, ...], root: str, terminal: Terminal, *, wait: bool, as_json: bool
) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.follow import cancel_run, find_run, unfinished_runs
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.view import ENDS
    from pollinator.cli.watching import until_ended
    from pollinator.cli.words import state_word

    async with connected(terminal) as daemon:
        # All ids are looked up first: a typo in the last one cancels nothing.
        runs = [await find_run(daemon, each, root) for each in run_ids] or await unfinished_runs(daemon, root)
        if not runs:
            terminal.say("No run to cancel.")
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
