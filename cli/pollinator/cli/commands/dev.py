"""``pollinator dev``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, output_style_options, override_options, project_option

if TYPE_CHECKING:
    from pollinator.cli.dev.loop import Options
    from pollinator.cli.dev.screen import Screen
    from pollinator.cli.dev.starts import Starts
    from pollinator.cli.terminal import Terminal

_LABEL, _RAW = output_style_options()


@click.command(
    "dev",
    cls=Command,
    short_help="Run the project again at every save.",
    examples=(
        "pollinator dev",
        "pollinator dev --on lumi --smoke 'python3 src/main.py --steps 2'",
        "pollinator dev --data --keep -- --epochs 3",
    ),
)
@click.option("--data", is_flag=True, help="Watch cfs/data as well.")
@click.option("--keep", is_flag=True, help="Let a run end before the next one begins, instead of ending it.")
@click.option(
    "--smoke",
    metavar="CMD",
    default="",
    help="First run this on this machine; only when it succeeds the project is run.",
)
@_LABEL
@_RAW
@override_options
@project_option()
@json_option("Print JSON lines: each start, then events, output and the run as `run --follow --json` does.")
@click.argument("arguments", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED)
def dev_command(project: Path | None, **given: Any) -> int:
    """Run the project now, and again whenever files of cfs/src or project.yaml are saved.

    A save ends the run that goes on, and the files as they are then are run. What was written with the same
    content starts nothing. On a terminal, single keys run again, cancel, show what changed, choose another
    executor, and quit. Whoever quits, by q or Ctrl-C, lets go of a run, which goes on. ARGS are added to the
    arguments of the command in project.yaml.
    """
    from pollinator.cli.dev.loop import Options
    from pollinator.cli.dev.screen import Screen
    from pollinator.cli.dev.starts import Starts
    from pollinator.cli.folder import project_here
    from pollinator.cli.launch import wishes_of
    from pollinator.cli.requests import project_run
    from pollinator.cli.session import run_async
    from pollinator.cli.terminal import Terminal
    from pollinator.cli.view import Style

    terminal = Terminal()
    root = project_here(project)
    starts = Starts(project_run(root, wishes_of(given), terminal, strict=False), given["smoke"])
    screen = Screen(terminal, Style(label=given["label"], raw=given["raw"]), as_json=given["as_json"])
    options = Options(root, data=given["data"], keep=given["keep"])
    return run_async(_dev(terminal, screen, starts, options))


async def _dev(terminal: Terminal, screen: Screen, starts: Starts, options: Options) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.dev.loop import DevLoop

    async with connected(terminal) as daemon:
        return await DevLoop(daemon, screen, starts, options).run()
