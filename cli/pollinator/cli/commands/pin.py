"""``pollinator pin`` and ``pollinator unpin``."""

from __future__ import annotations

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, run_argument


@click.command(
    "pin",
    cls=Command,
    short_help="Keep the files and results of a run for ever.",
    examples=("pollinator pin latest",),
)
@json_option()
@run_argument()
def pin_command(run_id: str, as_json: bool) -> int:
    """Keep the files and results of a run in the store, whatever its age."""
    from pollinator.cli.session import run_async

    return run_async(_pin(run_id, unpin=False, as_json=as_json))


@click.command(
    "unpin",
    cls=Command,
    short_help="Keep a run no longer than others.",
    examples=("pollinator unpin 01jb2",),
)
@json_option()
@run_argument()
def unpin_command(run_id: str, as_json: bool) -> int:
    """Keep the files and results of a run no longer than those of others."""
    from pollinator.cli.session import run_async

    return run_async(_pin(run_id, unpin=True, as_json=as_json))


async def _pin(run_id: str, *, unpin: bool, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.folder import project_or_any
    from pollinator.cli.follow import find_run
    from pollinator.cli.plain import json_text
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.project_pb2 import PinRunRequest

    terminal = Terminal()
    async with connected(terminal) as daemon:
        run = await find_run(daemon, run_id, project_or_any())
        await daemon.ask(daemon.projects.PinRun, PinRunRequest(run_id=run.id, unpin=unpin))
    if as_json:
        terminal.print(json_text({"run_id": run.id, "pinned": not unpin}))
    terminal.say("Run is not pinned any more" if unpin else "Run is kept for ever", Run=run.id)
    return int(Exit.OK)
