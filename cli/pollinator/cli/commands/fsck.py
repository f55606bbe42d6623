"""``pollinator fsck``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, project_option

if TYPE_CHECKING:
    from pollinator.cli.connect import Daemon
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.project_pb2 import Checked, CheckStoreRequest, Flaw


@click.command(
    "fsck",
    cls=Command,
    short_help="Check that all is in the store that should be.",
    examples=("pollinator fsck", "pollinator fsck --read-data --repair"),
)
@click.option("--read-data", is_flag=True, help="Read and verify every byte that is needed.")
@click.option("--repair", is_flag=True, help="Store again what this machine has, and forget what is wrong.")
@project_option()
@json_option()
def fsck_command(read_data: bool, repair: bool, project: Path | None, as_json: bool) -> int:
    """Check the project's store against itself, and what is known of it here against the store.

    The exit code is 65 when something is wrong that was not put right.
    """
    from pollinator.cli.folder import project_here
    from pollinator.cli.session import run_async
    from pollinator.v1.project_pb2 import CheckStoreRequest

    request = CheckStoreRequest(root=str(project_here(project)), read_data=read_data, repair=repair)
    return run_async(_check(request, as_json=as_json))


async def _check(request: CheckStoreRequest, *, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    async with connected(terminal) as daemon:
        checked = await _checked(daemon, terminal, request)
    if as_json:
        terminal.print(json_text({"root": request.root, **plain(checked)}))
    else:
        _show(terminal, request.root, checked)
    left = [flaw for flaw in checked.flaws if not flaw.repaired]
    if left:
        terminal.hint(_advice(request))
    return int(Exit.CORRUPT if left else Exit.OK)


async def _checked(daemon: Daemon, terminal: Terminal, request: CheckStoreRequest) -> Checked:
    import grpc

    from pollinator.cli.progress import StepBar
    from pollinator.v1.project_pb2 import Checked
    from pollinator.wire.status import to_error

    bar = StepBar(terminal)
    checked = Checked()
    try:
        async for answer in daemon.projects.CheckStore(request):
            if answer.HasField("progress"):
                bar.show(answer.progress)
            else:
                checked = answer.checked
    except grpc.aio.AioRpcError as error:
        raise to_error(error) from error
    finally:
        terminal.clear_bar()
    return checked


def _advice(request: CheckStoreRequest) -> str:
    if request.repair:
        return (
            "what is left is not on this machine; pollinator fsck --repair may help on one that has the files"
        )
    # Without reading, damage would not be found again.
    options = "--read-data --repair" if request.read_data else "--repair"
    return f"store again what this machine still has: pollinator fsck {options}"


def _show(terminal: Terminal, root: str, checked: Checked) -> None:
    from pollinator.cli.words import bytes_text, count_text

    terminal.print(f"project:   {root}")
    terminal.print(f"store:     {checked.store}")
    terminal.print(f"snapshots: {checked.snapshots}")
    terminal.print(f"chunks:    {checked.chunks} in {count_text(checked.packs, 'pack')}")
    if checked.bytes_read:
        terminal.print(f"verified:  {bytes_text(checked.bytes_read)}")
    for flaw in checked.flaws:
        for line in _lines(flaw):
            terminal.print(line)
    left = sum(not flaw.repaired for flaw in checked.flaws)
    terminal.print(f"in all:    {left} wrong" if left else "wrong:     nothing")


def _lines(flaw: Flaw) -> list[str]:
    where = f" {flaw.key}" if flaw.key not in flaw.text else ""
    lines = [f"{'repaired:' if flaw.repaired else 'wrong:':<10} {flaw.code}{where}: {flaw.text}"]
    lines += [f"  run {run}" for run in flaw.runs]
    lines += [f"  snapshot {key}" for key in flaw.snapshots if not flaw.runs]
    lines += [f"  {path.decode('utf-8', 'backslashreplace')}" for path in flaw.paths]
    return lines
