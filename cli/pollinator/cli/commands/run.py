"""``pollinator run``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pollinator.cli.group import Command
from pollinator.cli.options import follow_options, json_option, override_options, project_option


@click.command(
    "run",
    cls=Command,
    short_help="Run the project as it is on disk now.",
    examples=(
        "pollinator run --follow",
        "pollinator run -f --set conditions.mem=4Gi -- --epochs 3",
        "pollinator run -f --secret-file ~/.tokens",
        "ID=$(pollinator run) && pollinator wait $ID",
        "pollinator run --dry-run",
        "pollinator run --what-if nodes=2 --what-if walltime=1h",
    ),
)
@follow_options
@override_options
@click.option("--strict", is_flag=True, help="Fail if a file is being written while it is read.")
@click.option("--dry-run", is_flag=True, help="Check everything and print what would be run; run nothing.")
@click.option(
    "--what-if",
    "what_if",
    metavar="KEY=VALUE",
    multiple=True,
    help="Run nothing; say when it would start, as it is and with this, for example nodes=2.",
)
@project_option()
@json_option("Print the run as a JSON object; with --follow JSON lines of events, output and the run.")
@click.argument("arguments", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED)
def run_command(project: Path | None, **given: Any) -> int:
    """Run the project as it is on disk now.

    Everything that was written before this command is part of the run; nothing written later is. Without
    --follow, the run goes on by itself, and its id is printed where stdout is not a terminal. With it, the
    job's output comes on stdout and its exit code ends this command: see `pollinator help exit-codes`. ARGS
    are added to the arguments of the command in project.yaml.
    """
    from pollinator.cli.folder import project_here
    from pollinator.cli.launch import launch, wishes_of
    from pollinator.cli.requests import project_run
    from pollinator.cli.session import run_async
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    if given["dry_run"] or given["what_if"]:
        from pollinator.cli.rehearsal import rehearse

        return run_async(rehearse(project_here(project), wishes_of(given), terminal, given))
    strict = bool(given["strict"])
    request = project_run(project_here(project), wishes_of(given), terminal, strict=strict)
    return run_async(launch(request, terminal, given))
