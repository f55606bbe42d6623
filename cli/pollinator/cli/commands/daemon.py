"""``pollinator daemon``."""

from __future__ import annotations

import click

from pollinator.cli.group import Command, Lazy, LazyGroup
from pollinator.cli.options import json_option

_HERE = "pollinator.cli.commands.daemon"
_SERVICE = "pollinator.cli.commands.daemon_service"


@click.command(
    "daemon",
    cls=LazyGroup,
    short_help="Start, stop and look at the daemon.",
    lazy={
        "start": Lazy(_HERE, "start", "Start the daemon."),
        "stop": Lazy(_HERE, "stop", "Stop the daemon; runs go on."),
        "restart": Lazy(_HERE, "restart", "Stop and start the daemon; runs go on."),
        "status": Lazy(_HERE, "status", "Say whether the daemon runs."),
        "logs": Lazy(_SERVICE, "logs", "Print the daemon's log."),
        "install": Lazy(_SERVICE, "install", "Start the daemon at every login."),
        "uninstall": Lazy(_SERVICE, "uninstall", "No longer start the daemon at login."),
    },
    examples=("pollinator daemon status", "pollinator daemon logs -f", "pollinator daemon install --print"),
)
def daemon_command() -> None:
    """Start, stop and look at the daemon.

    It is started by the first command that needs it. Runs do not depend on it: they go on while it is away.
    """


@click.command("start", cls=Command, short_help="Start the daemon.", examples=("pollinator daemon start",))
def start() -> int:
    """Start the daemon, unless it runs already."""
    from pollinator.cli.session import run_async

    return run_async(_start())


@click.command(
    "stop", cls=Command, short_help="Stop the daemon; runs go on.", examples=("pollinator daemon stop",)
)
def stop() -> int:
    """Stop the daemon. Runs go on; the next command that needs it starts it again."""
    from pollinator.cli.session import run_async

    return run_async(_stop())


@click.command(
    "restart",
    cls=Command,
    short_help="Stop and start the daemon; runs go on.",
    examples=("pollinator daemon restart",),
)
def restart() -> int:
    """Stop and start the daemon. Runs go on."""
    from pollinator.cli.session import run_async

    return run_async(_restart())


@click.command(
    "status",
    cls=Command,
    short_help="Say whether the daemon runs.",
    examples=("pollinator daemon status --json",),
)
@json_option()
def status(as_json: bool) -> int:
    """Say whether the daemon runs; exit code 69 when it does not."""
    from pollinator.cli.session import run_async

    return run_async(_status(as_json=as_json))


async def _start() -> int:
    import asyncio

    from pollinator.cli.connect import connected, ensure_daemon
    from pollinator.cli.exits import Exit
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    started = await asyncio.to_thread(ensure_daemon)
    async with connected(terminal) as daemon:
        words = "Daemon started" if started else "Daemon runs already"
        terminal.say(words, Version=daemon.info.version, Pid=str(daemon.info.pid))
    return int(Exit.OK)


async def _stop() -> int:
    from pollinator.cli.connect import connected_if_running, shut_down
    from pollinator.cli.exits import Exit
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    async with connected_if_running() as daemon:
        if daemon is None:
            terminal.say("Daemon does not run")
            return int(Exit.OK)
        await shut_down(daemon, only_if_idle=False)
        terminal.say("Daemon stopped", Pid=str(daemon.info.pid))
        if daemon.info.active_runs:
            terminal.say(f"Runs that go on without it: {daemon.info.active_runs}")
    return int(Exit.OK)


async def _restart() -> int:
    await _stop()
    return await _start()


async def _status(*, as_json: bool) -> int:
    from pollinator.cli.connect import connected_if_running
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.terminal import Terminal
    from pollinator.cli.words import time_text
    from pollinator.wire.places import daemon_socket

    terminal = Terminal()
    async with connected_if_running() as daemon:
        if as_json:
            # Also where it would be: that depends on the environment, which a client may not know.
            about = {"running": daemon is not None, "socket": str(daemon_socket())}
            terminal.print(json_text({**about, **(plain(daemon.info) if daemon else {})}))
        elif daemon is None:
            terminal.print("not running")
        else:
            info = daemon.info
            terminal.print(f"running:     version {info.version}, process {info.pid}")
            terminal.print(f"since:       {time_text(info.start_time)}")
            terminal.print(f"active runs: {info.active_runs}")
            terminal.print(f"log:         {info.log_path}")
        return int(Exit.UNAVAILABLE if daemon is None else Exit.OK)
