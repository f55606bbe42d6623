"""``pollinator gc``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, project_option

if TYPE_CHECKING:
    from pollinator.cli.connect import Daemon
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.project_pb2 import Collected, Garbage


@click.command(
    "gc",
    cls=Command,
    short_help="Remove what nobody needs from the store.",
    examples=("pollinator gc --dry-run", "pollinator gc --all --json"),
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and change nothing.")
@click.option("-a", "--all", "everything", is_flag=True, help="The stores of all projects.")
@project_option()
@json_option("Print a JSON object for each store.")
def gc_command(dry_run: bool, everything: bool, project: Path | None, as_json: bool) -> int:
    """Remove what nobody needs from the store of a project; the daemon does so once a day by itself.

    What is found is condemned first, and removed a day later if still nobody needs it.
    """
    from pollinator.cli.folder import project_here
    from pollinator.cli.session import run_async

    root = "" if everything else str(project_here(project))
    return run_async(_collect(root, dry_run=dry_run, as_json=as_json))


async def _collect(root: str, *, dry_run: bool, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.project_pb2 import ListProjectsRequest

    terminal = Terminal()
    problems = False
    async with connected(terminal) as daemon:
        roots = [root]
        if not root:
            answer = await daemon.ask(daemon.projects.ListProjects, ListProjectsRequest())
            roots = [each.root for each in answer.projects]
        for at, each in enumerate(roots):
            collected = await _of(daemon, terminal, each, dry_run=dry_run)
            problems |= bool(collected.problems)
            if as_json:
                terminal.print(json_text({"root": each, "dry_run": dry_run, **plain(collected)}))
            else:
                if at:
                    terminal.print("")
                _show(terminal, each, collected, dry_run=dry_run)
            for problem in collected.problems:
                terminal.warn(problem)
    return int(Exit.FAILED if problems else Exit.OK)


async def _of(daemon: Daemon, terminal: Terminal, root: str, *, dry_run: bool) -> Collected:
    import grpc

    from pollinator.cli.progress import StepBar
    from pollinator.v1.project_pb2 import Collected, CollectRequest
    from pollinator.wire.status import to_error

    bar = StepBar(terminal)
    collected = Collected()
    try:
        async for answer in daemon.projects.Collect(CollectRequest(root=root, dry_run=dry_run)):
            if answer.HasField("progress"):
                bar.show(answer.progress)
            else:
                collected = answer.collected
    except grpc.aio.AioRpcError as error:
        raise to_error(error) from error
    finally:
        terminal.clear_bar()
    return collected


def _show(terminal: Terminal, root: str, collected: Collected, *, dry_run: bool) -> None:
    from pollinator.cli.words import bytes_text, count_text

    terminal.print(f"project:   {root}")
    terminal.print(f"store:     {collected.store}")
    terminal.print(f"holds:     {count_text(collected.objects, 'object')}, {bytes_text(collected.bytes)}")
    terminal.print(f"keeps:     {count_text(collected.kept_snapshots, 'snapshot')}")
    terminal.print(f"{'removes:' if dry_run else 'removed:':<10} {_words(collected.removed)}")
    if collected.repacked_packs:
        out_of = count_text(collected.repacked_packs, "pack")
        label = "repacks:" if dry_run else "repacked:"
        terminal.print(f"{label:<10} {bytes_text(collected.repacked_bytes)} out of {out_of}")
    terminal.print(f"condemned: {_words(collected.condemned)}")


def _words(garbage: Iterable[Garbage]) -> str:
    from pollinator.cli.words import bytes_text, count_text

    found = list(garbage)
    total = sum(each.bytes for each in found)
    parts = ", ".join(count_text(each.objects, _noun(each.kind)) for each in found)
    return f"{bytes_text(total)} ({parts})" if parts else "nothing"


def _noun(kind: str) -> str:
    return "index" if kind == "indexes" else kind.removesuffix("s")
