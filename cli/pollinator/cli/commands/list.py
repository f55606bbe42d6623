"""``pollinator list``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, project_option
from pollinator.cli.words import parse_since

if TYPE_CHECKING:
    from pollinator.v1.run_pb2 import ListRunsRequest


def _moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    if value is None:
        return None
    try:
        return parse_since(value, datetime.now(UTC))
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command(
    "list",
    cls=Command,
    short_help="List runs, newest first.",
    examples=(
        "pollinator list",
        "pollinator list --all --active",
        "pollinator list --since 4h --json",
    ),
)
@click.option("-a", "--all", "everything", is_flag=True, help="Runs of all projects.")
@click.option("--active", is_flag=True, help="Only runs that have not ended.")
@click.option("--since", metavar="TIME", callback=_moment, help="Only runs since then: 4h, 2d, 2026-01-31.")
@click.option(
    "-n", "most", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many."
)
@project_option()
@json_option("Print each run as a JSON object, one a line.")
def list_command(
    everything: bool, active: bool, since: datetime | None, most: int, project: Path | None, as_json: bool
) -> int:
    """List runs, newest first: those of the project this is called in, or of all outside of any."""
    from google.protobuf.timestamp_pb2 import Timestamp

    from pollinator.cli.folder import project_or_any
    from pollinator.cli.session import run_async
    from pollinator.v1.run_pb2 import ListRunsRequest

    request = ListRunsRequest(active=active, page_size=most)
    if not everything:
        request.root = project_or_any(project)
    if since is not None:
        begin = Timestamp()
        begin.FromDatetime(since)
        request.since.CopyFrom(begin)
    return run_async(_list(request, as_json=as_json))


async def _list(request: ListRunsRequest, *, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.table import print_runs
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    async with connected(terminal) as daemon:
        answer = await daemon.ask(daemon.runs.ListRuns, request)
    if as_json:
        for run in answer.runs:
            terminal.print(json_text(plain(run)))
    elif answer.runs:
        print_runs(terminal, answer.runs)
        if answer.next_page_token:
            terminal.say(f"There are more: pollinator list -n {request.page_size * 5}")
    else:
        terminal.say("No runs. Start one: pollinator run --follow")
    return int(Exit.OK)
