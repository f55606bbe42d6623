"""``pollinator config``."""

from __future__ import annotations

from collections.abc import Mapping

import click

from pollinator.cli.group import Command, Lazy, LazyGroup
from pollinator.cli.options import json_option

Row = dict[str, str]
"""A setting: name, value, origin, description."""


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
    """Show all settings in force, those of the daemon and those of this shell, and where each comes from."""
    from pollinator.cli.session import run_async

    return run_async(_show(as_json=as_json))


async def _show(*, as_json: bool) -> int:
    import os

    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.table import print_table
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.daemon_pb2 import GetSettingsRequest

    terminal = Terminal()
    own = own_settings(os.environ)
    async with connected(terminal) as daemon:
        answer = await daemon.ask(daemon.daemon.GetSettings, GetSettingsRequest())
    rows = sorted([*map(plain, answer.settings), *own], key=lambda row: str(row["name"]))
    if as_json:
        for row in rows:
            terminal.print(json_text(row))
        return int(Exit.OK)
    columns = ("name", "value", "origin", "description")
    header = ["SETTING", "VALUE", "ORIGIN", "DESCRIPTION"]
    print_table(terminal, header, [[str(row[column]) for column in columns] for row in rows])
    return int(Exit.OK)


def own_settings(environ: Mapping[str, str]) -> list[Row]:
    """What the commands of this shell go by.

    Raises:
        InvalidInput: the environment names no store that can be used.
    """
    from pollinator.cli.spawn import NO_AUTOSTART, autostart_allowed

    store, origin = _store(environ)
    autostart = "true" if autostart_allowed(environ) else "false"
    return [
        _row("autostart", autostart, _origin(environ, NO_AUTOSTART), "a command may start the daemon"),
        _row("store", store, origin, "where projects used from this shell are stored"),
    ]


def _store(environ: Mapping[str, str]) -> tuple[str, str]:
    """The store for people, without credentials, and what named it."""
    from pollinator.wire.store_env import store_settings_from_environment

    settings = store_settings_from_environment(environ)
    if settings is None:
        return "the project's own; folder for a new one", "default"
    origin = _origin(environ, "POLLINATOR_STORE", "AWS_S3_BUCKET")
    if settings.WhichOneof("kind") == "folder":
        return f"folder:{settings.folder.path}".rstrip(":"), origin
    bucket = "/".join(filter(None, [settings.s3.bucket, settings.s3.prefix]))
    return f"s3://{bucket} at {settings.s3.endpoint or 'AWS'}", origin


def _origin(environ: Mapping[str, str], *names: str) -> str:
    return next((f"environment {name}" for name in names if environ.get(name)), "default")


def _row(name: str, value: str, origin: str, description: str) -> Row:
    return {"name": name, "value": value, "origin": origin, "description": description}
