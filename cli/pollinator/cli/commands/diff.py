"""``pollinator diff``."""

from __future__ import annotations

import click

from pollinator.cli.group import Command
from pollinator.cli.options import complete_runs, json_option, run_argument


@click.command(
    "diff",
    cls=Command,
    short_help="Show what changed between two runs.",
    examples=(
        "pollinator diff latest",
        "pollinator diff latest~1 latest",
        "pollinator diff --name-only 01jb2 01jb3",
    ),
)
@click.option("--name-only", is_flag=True, help="Only names, no text.")
@json_option()
@run_argument()
@click.argument("other", metavar="[OTHER]", required=False, default="", shell_complete=complete_runs)
def diff_command(run_id: str, other: str, name_only: bool, as_json: bool) -> int:
    """Show what changed from RUN to OTHER in settings and files; without OTHER, to what is on disk now."""
    from pollinator.cli.session import run_async

    return run_async(_diff(run_id, other, name_only=name_only, as_json=as_json))


async def _diff(base: str, other: str, *, name_only: bool, as_json: bool) -> int:
    from pollinator.cli.changes import print_changes
    from pollinator.cli.connect import LONG_S, connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.folder import project_or_any
    from pollinator.cli.follow import find_run
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.project_pb2 import DiffRunsRequest

    terminal = Terminal()
    async with connected(terminal) as daemon:
        root = project_or_any()
        request = DiffRunsRequest(base_run_id=(await find_run(daemon, base, root)).id)
        if other:
            request.run_id = (await find_run(daemon, other, root)).id
        answer = await daemon.ask(daemon.projects.DiffRuns, request, timeout_s=LONG_S)
    if as_json:
        terminal.print(json_text(plain(answer)))
    else:
        print_changes(answer, terminal, name_only=name_only)
    return int(Exit.OK)
