"""``pollinator pull``."""

from __future__ import annotations

from pathlib import Path

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, run_argument


@click.command(
    "pull",
    cls=Command,
    short_help="Fetch the results of a run.",
    examples=("pollinator pull latest", "pollinator pull 01jb2 /tmp/results"),
)
@json_option()
@run_argument()
@click.argument(
    "directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path, file_okay=False)
)
def pull_command(run_id: str, directory: Path | None, as_json: bool) -> int:
    """Fetch the results of a run into DIR, or into `cfs/result` of its project.

    A file that was edited here is never overwritten: the run's version lands beside it under another name.
    """
    from pollinator.cli.session import run_async

    target = str(directory.absolute()) if directory else ""
    return run_async(_pull(run_id, target, as_json=as_json))


async def _pull(run_id: str, directory: str, *, as_json: bool) -> int:
    from uuid import uuid4

    from pollinator.cli.connect import LONG_S, connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.folder import project_or_any
    from pollinator.cli.follow import find_run
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.session import beside
    from pollinator.cli.terminal import Terminal
    from pollinator.cli.transfers import show_transfer
    from pollinator.cli.words import count_text
    from pollinator.v1.project_pb2 import PullResultsRequest

    terminal = Terminal()
    async with connected(terminal) as daemon:
        run = await find_run(daemon, run_id, project_or_any())
        request = PullResultsRequest(run_id=run.id, directory=directory, transfer_id=str(uuid4()))
        working = daemon.ask(daemon.projects.PullResults, request, timeout_s=LONG_S)
        answer = await beside(working, show_transfer(daemon, terminal, request.transfer_id))
    terminal.clear_bar()
    if as_json:
        terminal.print(json_text(plain(answer)))
    written = count_text(answer.files_written, "file")
    terminal.say(f"{written} written, {answer.files_unchanged} unchanged", Dir=answer.directory)
    for conflict in answer.conflicts:
        terminal.warn(f"the local file had been edited, so the run's version is {conflict}")
    return int(Exit.OK)
