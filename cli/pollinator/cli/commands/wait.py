"""``pollinator wait``."""

from __future__ import annotations

import click

from pollinator.cli.group import Command
from pollinator.cli.options import complete_runs, json_option
from pollinator.cli.words import parse_duration_s


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_duration_s(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(
    "wait",
    cls=Command,
    short_help="Wait until runs have ended.",
    examples=(
        "pollinator wait latest",
        "pollinator wait --timeout 10m 01jb2 01jb3",
    ),
)
@click.option(
    "--timeout", metavar="DURATION", callback=_seconds, help="Give up after this time, for example 10m."
)
@json_option("Print each run as a JSON object, one a line.")
@click.argument("run_ids", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_runs)
def wait_command(run_ids: tuple[str, ...], timeout: int | None, as_json: bool) -> int:
    """Wait until runs have ended, and end with the job's exit code.

    With several runs, the exit code is that of the first in the order given that did not succeed. When the
    time is up, the exit code is 101 and the runs go on.
    """
    from pollinator.cli.session import run_async
    from pollinator.cli.terminal import Terminal
    from pollinator.cli.watching import wait_for

    return run_async(wait_for(run_ids, Terminal(), timeout_s=timeout, as_json=as_json))
