"""``pollinator rerun``."""

from __future__ import annotations

from typing import Any

import click

from pollinator.cli.group import Command
from pollinator.cli.options import follow_options, json_option, override_options, run_argument


@click.command(
    "rerun",
    cls=Command,
    short_help="Run again exactly what an earlier run ran.",
    examples=(
        "pollinator rerun latest --follow",
        "pollinator rerun 01jb2 --set conditions.mem=4Gi",
    ),
)
@follow_options
@override_options
@json_option("Print the run as a JSON object; with --follow JSON lines of events, output and the run.")
@run_argument()
@click.argument("arguments", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED)
def rerun_command(run_id: str, **given: Any) -> int:
    """Run again exactly what an earlier run ran, whatever is on disk now.

    The files are those of the earlier run's snapshot. Settings may be changed with --set; secrets were not
    recorded, so give them again.
    """
    from pollinator.cli.launch import relaunch
    from pollinator.cli.session import run_async
    from pollinator.cli.terminal import Terminal

    return run_async(relaunch(run_id, Terminal(), given))
