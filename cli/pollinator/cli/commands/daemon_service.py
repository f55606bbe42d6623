"""``pollinator daemon logs``, ``install`` and ``uninstall``: what needs no daemon that answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pollinator.cli.group import Command

if TYPE_CHECKING:
    from pollinator.cli.terminal import Terminal


@click.command(
    "logs",
    cls=Command,
    short_help="Print the daemon's log.",
    examples=("pollinator daemon logs -n 100", "pollinator daemon logs -f"),
)
@click.option("-f", "--follow", is_flag=True, help="Stay and print what comes.")
@click.option(
    "-n", "--tail", "tail", type=click.IntRange(min=0), default=50, show_default=True, help="Last lines."
)
def logs(follow: bool, tail: int) -> int:
    """Print the daemon's log: one JSON object a line."""
    from pollinator.cli.daemon_log import follow_log, last_lines, log_path
    from pollinator.cli.exits import Exit
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    path = log_path()
    data, position = last_lines(path, tail)
    terminal.write(data)
    if follow:
        follow_log(path, position, terminal.write)
    return int(Exit.OK)


@click.command(
    "install",
    cls=Command,
    short_help="Start the daemon at every login.",
    examples=("pollinator daemon install", "pollinator daemon install --print"),
)
@click.option("--print", "only_print", is_flag=True, help="Only print the file that would be written.")
def install(only_print: bool) -> int:
    """Start the daemon at every login: as a systemd user unit on Linux, as a launchd agent on macOS."""
    from pollinator.cli.exits import Exit
    from pollinator.cli.service_unit import registration
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    wanted = registration()
    if only_print:
        terminal.write(wanted.text.encode())
        return int(Exit.OK)
    wanted.path.parent.mkdir(parents=True, exist_ok=True)
    wanted.path.write_text(wanted.text, "utf-8")
    terminal.say("Generating", Filename=str(wanted.path))
    if not _run_all(wanted.after_install, terminal):
        return int(Exit.FAILED)
    terminal.say("The daemon starts at every login")
    if wanted.note:
        terminal.hint(wanted.note)
    return int(Exit.OK)


@click.command(
    "uninstall",
    cls=Command,
    short_help="No longer start the daemon at login.",
    examples=("pollinator daemon uninstall",),
)
def uninstall() -> int:
    """No longer start the daemon at login. Projects, runs and settings stay."""
    from pollinator.cli.exits import Exit
    from pollinator.cli.service_unit import registration
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    wanted = registration()
    if not wanted.path.exists():
        terminal.say("Not installed", Filename=str(wanted.path))
        return int(Exit.OK)
    _run_all(wanted.before_uninstall, terminal)
    wanted.path.unlink()
    _run_all(wanted.after_uninstall, terminal)
    terminal.say("Removed", Filename=str(wanted.path))
    return int(Exit.OK)


def _run_all(commands: Sequence[Sequence[str]], terminal: Terminal) -> bool:
    import shlex
    import subprocess

    for command in commands:
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        except FileNotFoundError:
            terminal.fail(f"{command[0]} is not on this system")
        except subprocess.TimeoutExpired:
            terminal.fail(f"no answer from: {shlex.join(command)}")
        except subprocess.CalledProcessError as error:
            terminal.fail(
                f"{shlex.join(command)}: {str(error.stderr).strip() or f'exit code {error.returncode}'}"
            )
        else:
            continue
        terminal.hint("the file is in place; run the command by hand where it works")
        return False
    return True
