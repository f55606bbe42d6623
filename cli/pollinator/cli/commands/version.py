"""``pollinator version``."""

from __future__ import annotations

import platform

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option


@click.command(
    "version",
    cls=Command,
    short_help="Print versions.",
    examples=("pollinator version", "pollinator version --json"),
)
@json_option()
def version_command(as_json: bool) -> int:
    """Print the versions of this program, of the daemon if it runs, and of Python."""
    from pollinator.cli.session import run_async

    return run_async(_version(as_json=as_json))


async def _version(*, as_json: bool) -> int:
    from pollinator.cli.about import API_VERSION, program_version
    from pollinator.cli.connect import connected_if_running
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    async with connected_if_running() as daemon:
        running = daemon.info.version if daemon else None
    words: dict[str, object] = {
        "version": program_version(),
        "api_version": API_VERSION,
        "daemon_version": running,
        "python": platform.python_version(),
        "platform": platform.platform(),
    }
    if as_json:
        terminal.print(json_text(words))
        return int(Exit.OK)
    for name, value in words.items():
        terminal.print(f"{name.replace('_', ' ') + ':':<16} {'not running' if value is None else value}")
    return int(Exit.OK)
