"""``pollinator config``."""

from __future__ import annotations

import click

from pollinator.cli.group import Command, Lazy, LazyGroup
from pollinator.cli.options import json_option


@click.command(
    "config",
    cls=LazyGroup,
    short_help="Show settings and where they come from.",
    lazy={"show": Lazy("pollinator.cli.commands.config", "show_config", "Show all settings in force.")},
    examples=("pollinator config show",),
)
def config_command() -> None:
    """Show settings and where they come from."""


@click.command(
    "show",
    cls=Command,
    short_help="Show all settings in force.",
    examples=("pollinator config show", "pollinator config show --json"),
)
@json_option("Print each setting as a JSON object, one a line.")
def show_config(as_json: bool) -> int:
    """Show all settings in force at the daemon, and where each value comes from."""
    from pollinator.cli.session import run_async

    return run_async(_show(as_json=as_json))


async def _show(*, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.table import print_table
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.daemon_pb2 import GetSettingsRequest

    terminal = Terminal()
    async with connected(terminal) as daemon:
        answer = await daemon.ask(daemon.daemon.GetSettings, GetSettingsRequest())
    if as_json:
        for each in answer.settings:
            terminal.print(json_text(plain(each)))
        return int(Exit.OK)
    rows = [[each.name, each.value, each.origin, each.description] for each in answer.settings]
    print_table(terminal, ["SETTING", "VALUE", "ORIGIN", "DESCRIPTION"], rows)
    return int(Exit.OK)
