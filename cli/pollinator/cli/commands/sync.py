"""``pollinator sync``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, project_option

if TYPE_CHECKING:
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.project_pb2 import SealRequest, SealResponse


@click.command(
    "sync",
    cls=Command,
    short_help="Wait until what is on disk is in the store.",
    examples=("pollinator sync", "pollinator sync --strict --json"),
)
@click.option("--strict", is_flag=True, help="Fail if a file is being written while it is read.")
@click.option("--accept-deletions", is_flag=True, help="Go on although a tree was emptied at once.")
@project_option()
@json_option("Print one JSON object: files, bytes, chunks, bytes_uploaded, requests, seconds, snapshot.")
def sync_command(strict: bool, accept_deletions: bool, project: Path | None, as_json: bool) -> int:
    """Wait until what is on disk now is in the store, as one snapshot; print what it took."""
    import os

    from pollinator.cli.folder import project_here
    from pollinator.cli.session import run_async
    from pollinator.v1.project_pb2 import SealRequest
    from pollinator.wire.store_env import store_settings_from_environment

    request = SealRequest(
        root=str(project_here(project)),
        store=store_settings_from_environment(os.environ),
        strict=strict,
        accept_deletions=accept_deletions,
    )
    return run_async(_sync(request, as_json=as_json))


async def _sync(request: SealRequest, *, as_json: bool) -> int:
    from pollinator.cli.connect import LONG_S, connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text
    from pollinator.cli.session import beside
    from pollinator.cli.terminal import Terminal
    from pollinator.cli.transfers import show_upload
    from pollinator.cli.view import tell_notice

    terminal = Terminal()
    async with connected(terminal) as daemon:
        sealing = daemon.ask(daemon.projects.Seal, request, timeout_s=LONG_S)
        answer = await beside(sealing, show_upload(daemon, terminal, request.root))
    terminal.clear_bar()
    for notice in answer.notices:
        tell_notice(terminal, notice)
    words = _words(answer)
    if as_json:
        terminal.print(json_text(words))
    else:
        _print_words(words, terminal)
    return int(Exit.OK)


def _words(answer: SealResponse) -> dict[str, object]:
    report = answer.report
    return {
        "files": report.files,
        "bytes": report.bytes,
        "chunks": report.chunks,
        "bytes_uploaded": report.bytes_uploaded,
        "requests": report.requests,
        "seconds": report.elapsed.ToNanoseconds() / 1e9,
        "snapshot": answer.snapshot.digest.hex(),
    }


def _print_words(words: dict[str, object], terminal: Terminal) -> None:
    for name, value in words.items():
        terminal.print(f"{name + ':':<16} {value}")
