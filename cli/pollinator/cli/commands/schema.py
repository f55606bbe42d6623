"""``pollinator schema``."""

from __future__ import annotations

import click

from pollinator.cli.group import Command


@click.command(
    "schema",
    cls=Command,
    short_help="Print the JSON Schema of project.yaml.",
    examples=("pollinator schema > project.schema.json", "pollinator schema --install"),
)
@click.option("--install", is_flag=True, help="Put it where the first line of new project.yaml files points.")
def schema_command(install: bool) -> int:
    """Print the JSON Schema of project.yaml, or renew the copy that editors read."""
    from pollinator.cli.exits import Exit
    from pollinator.cli.schema_file import install_schema, schema_text
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    if install:
        terminal.print(str(install_schema()))
    else:
        terminal.print(schema_text().rstrip("\n"))
    return int(Exit.OK)
