"""``pollinator logs``."""

from __future__ import annotations

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, output_style_options, problems_option, run_argument

_label, _raw = output_style_options()


@click.command(
    "logs",
    cls=Command,
    short_help="Print what a run printed.",
    examples=(
        "pollinator logs latest",
        "pollinator logs -f 01jb2",
        "pollinator logs --tail 50 --rank 3 01jb2",
    ),
)
@click.option(
    "-f", "--follow", is_flag=True, help="Stay until the run has ended, and end with its exit code."
)
@click.option("--tail", type=click.IntRange(min=1), metavar="N", help="Begin at most N lines before the end.")
@click.option("--rank", type=click.IntRange(min=0), metavar="R", help="Only what this rank printed.")
@_label
@_raw
@click.option("--cancel-on-interrupt", is_flag=True, help="With --follow: Ctrl-C cancels the run.")
@problems_option()
@json_option("Print JSON lines.")
@run_argument(default="latest")
def logs_command(
    run_id: str,
    follow: bool,
    tail: int | None,
    rank: int | None,
    label: bool,
    raw: bool,
    cancel_on_interrupt: bool,
    problems: bool,
    as_json: bool,
) -> int:
    """Print what a run printed; the newest run of this project when RUN is left out.

    Output is complete and in order for each rank, whoever died meanwhile. Ctrl-C lets go; the run goes on.
    """
    from pollinator.cli.session import run_async
    from pollinator.cli.terminal import Terminal
    from pollinator.cli.view import Style
    from pollinator.cli.watching import print_logs

    style = Style(label=label, raw=raw, rank=rank, events=follow)
    work = print_logs(
        run_id,
        Terminal(),
        style,
        follow=follow,
        tail=tail or 0,
        as_json=as_json,
        cancel_on_interrupt=cancel_on_interrupt,
        problems=problems,
    )
    return run_async(work)
