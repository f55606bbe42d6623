"""``pollinator checkout``."""

from __future__ import annotations

from pathlib import Path

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, run_argument


@click.command(
    "checkout",
    cls=Command,
    short_help="Restore the files a run ran with.",
    examples=("pollinator checkout 01jb2 /tmp/as-it-was",),
)
@json_option()
@run_argument()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
def checkout_command(run_id: str, directory: Path, as_json: bool) -> int:
    """Restore `src` and `data` exactly as a run had them, in DIR, which must be empty or missing."""
    from pollinator.cli.session import run_async

    return run_async(_checkout(run_id, str(directory.absolute()), as_json=as_json))


async def _checkout(run_id: str, directory: str, *, as_json: bool) -> int:
    from uuid import uuid4

    from pollinator.cli.connect import LONG_S, connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.folder import project_or_any
    from pollinator.cli.follow import find_run
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.session import beside
    from pollinator.cli.terminal import Terminal
    from pollinator.cli.transfers import show_transfer
    from pollinator.cli.words import bytes_text, count_text
    from pollinator.v1.project_pb2 import CheckoutRequest

    terminal = Terminal()
    async with connected(terminal) as daemon:
        run = await find_run(daemon, run_id, project_or_any())
        request = CheckoutRequest(run_id=run.id, directory=directory, transfer_id=str(uuid4()))
        working = daemon.ask(daemon.projects.Checkout, request, timeout_s=LONG_S)
        answer = await beside(working, show_transfer(daemon, terminal, request.transfer_id))
    terminal.clear_bar()
    if as_json:
        terminal.print(json_text(plain(answer)))
    restored = count_text(answer.files, "file")
    terminal.say(f"{restored} restored, {bytes_text(answer.bytes)}", Dir=request.directory)
    return int(Exit.OK)
