"""``pollinator executors add``, ``set``, ``connect``, ``login`` and ``remove``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pollinator.cli.group import Command
from pollinator.cli.options import complete_executors, json_option

if TYPE_CHECKING:
    from pollinator.cli.connect import Daemon
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.executor_pb2 import Executor


@click.command(
    "add",
    cls=Command,
    short_help="Add a place where runs can go, and connect to it.",
    examples=(
        "pollinator executors add lumi ssh://ada@lumi.example.org --set slurm.account=project_1",
        "pollinator executors add bench ssh://bench --kind local",
        "pollinator executors add lab kube://lab/runs",
        "pollinator executors add mine unix:/run/user/1000/mine.sock",
    ),
)
@click.option(
    "--kind",
    default="",
    help="Such as slurm or local; by default that is found out there, but not at local:.",
)
@click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, help="A setting of the executor.")
@json_option()
@click.argument("name", metavar="NAME")
@click.argument("address", metavar="ADDRESS")
def add_executor(name: str, address: str, kind: str, settings: tuple[str, ...], as_json: bool) -> int:
    """Add a place where runs can go, and connect to it.

    ADDRESS is ssh://user@host, where Pollinator installs itself in the user's own folders; or
    kube://context/namespace, grpcs://host:port or unix:/path, where somebody else serves an executor; or
    local:/folder for a further one of this machine. What ssh needs to know comes from its own configuration.
    """
    from pollinator.cli.session import run_async

    return run_async(_add(name, address, kind, _pairs(settings, "--set"), as_json=as_json))


@click.command(
    "set",
    cls=Command,
    short_help="Change settings of an executor.",
    examples=(
        "pollinator executors set lumi slurm.account=project_2",
        "pollinator executors set lumi --unset slurm.partition",
    ),
)
@click.option("--unset", metavar="KEY", multiple=True, help="A setting that it is to have no more.")
@json_option()
@click.argument("name", metavar="NAME", shell_complete=complete_executors)
@click.argument("settings", metavar="[KEY=VALUE]...", nargs=-1)
def set_executor(name: str, settings: tuple[str, ...], unset: tuple[str, ...], as_json: bool) -> int:
    """Change settings of an executor, and start it anew with them. Its runs go on."""
    from pollinator.cli.session import run_async

    if not settings and not unset:
        raise click.UsageError("name a setting: KEY=VALUE, or --unset KEY")
    return run_async(_set(name, _pairs(settings, "a setting"), unset, as_json=as_json))


@click.command(
    "connect",
    cls=Command,
    short_help="Connect to an executor now.",
    examples=("pollinator executors connect lumi",),
)
@json_option()
@click.argument("name", metavar="NAME", shell_complete=complete_executors)
def connect_executor(name: str, as_json: bool) -> int:
    """Connect to an executor now, and install and start there what is missing. Runs do that by themselves."""
    from pollinator.cli.session import run_async

    return run_async(_connect(name, as_json=as_json))


@click.command(
    "login",
    cls=Command,
    short_help="Log in where an executor is.",
    examples=("pollinator executors login lumi",),
)
@click.argument("name", metavar="NAME", shell_complete=complete_executors)
def login_executor(name: str) -> int:
    """Log in where an executor is, with what is asked for there. Runs that wait for it go on then."""
    from pollinator.cli.session import run_async

    return run_async(_login(name))


@click.command(
    "remove",
    cls=Command,
    short_help="Forget an executor.",
    examples=("pollinator executors remove lumi",),
)
@click.option(
    "--force", is_flag=True, help="Also when runs have not ended or results are only there: they are lost."
)
@click.argument("name", metavar="NAME", shell_complete=complete_executors)
def remove_executor(name: str, force: bool) -> int:
    """Forget an executor, end it where it was started from here, and remove what it kept there."""
    from pollinator.cli.session import run_async

    return run_async(_remove(name, force=force))


def _pairs(given: tuple[str, ...], what: str) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    if bad := ["".join(pair) for pair in pairs if not (pair[0] and pair[1])]:
        raise click.UsageError(f"{what} {bad[0]!r} is not NAME=VALUE")
    return {key: value for key, _, value in pairs}


async def _add(name: str, address: str, kind: str, settings: dict[str, str], *, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.executor_pb2 import AddExecutorRequest

    terminal = Terminal()
    async with connected(terminal) as daemon:
        request = AddExecutorRequest(name=name, address=address, kind=kind, settings=settings)
        await daemon.ask(daemon.registry.AddExecutor, request)
        terminal.say(f"Added executor {name}")
        return await _reached(daemon, terminal, name, as_json=as_json)


async def _set(name: str, settings: dict[str, str], unset: tuple[str, ...], *, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.executor_pb2 import ConfigureExecutorRequest

    terminal = Terminal()
    async with connected(terminal) as daemon:
        request = ConfigureExecutorRequest(name=name, settings=settings, unset=unset)
        # It may have to wait for an attempt to connect that is under way.
        await daemon.ask(daemon.registry.ConfigureExecutor, request, timeout_s=120)
        terminal.say(f"Changed executor {name}")
        return await _reached(daemon, terminal, name, as_json=as_json)


async def _connect(name: str, *, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    async with connected(terminal) as daemon:
        return await _reached(daemon, terminal, name, as_json=as_json)


async def _login(name: str) -> int:
    import asyncio

    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.executor_pb2 import ListExecutorsRequest, Reach
    from pollinator.wire.errors import NeedsLogin

    terminal = Terminal()
    async with connected(terminal) as daemon:
        answer = await daemon.ask(daemon.registry.ListExecutors, ListExecutorsRequest())
        login = [each for each in answer.executors if each.name == name and each.login]
        if not login or login[0].reach != Reach.REACH_NEEDS_AUTH:
            try:
                return await _reached(daemon, terminal, name, as_json=False)
            except NeedsLogin:
                if not login:
                    raise
        # It has this terminal, and asks what it has to.
        process = await asyncio.create_subprocess_exec(*login[0].login)
        if await process.wait():
            terminal.fail("the login did not work")
            return int(Exit.NO_ACCESS)
        return await _reached(daemon, terminal, name, as_json=False)


async def _remove(name: str, *, force: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.executor_pb2 import RemoveExecutorRequest

    terminal = Terminal()
    async with connected(terminal) as daemon:
        request = RemoveExecutorRequest(name=name, force=force)
        answer = await daemon.ask(daemon.registry.RemoveExecutor, request, timeout_s=120)
    terminal.say(f"Removed executor {name}")
    if answer.left_behind:
        terminal.warn(answer.left_behind)
    return int(Exit.OK)


async def _reached(daemon: Daemon, terminal: Terminal, name: str, *, as_json: bool) -> int:
    """Connect, tell the steps, and print what was reached."""
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.sites import describe_executor

    found = await _steps(daemon, terminal, name)
    for line in [json_text(plain(found))] if as_json else describe_executor(found):
        terminal.print(line)
    return int(Exit.OK)


async def _steps(daemon: Daemon, terminal: Terminal, name: str) -> Executor:
    import grpc

    from pollinator.cli.connect import CONNECT_S
    from pollinator.v1.executor_pb2 import ConnectExecutorRequest, Executor
    from pollinator.wire.status import to_error

    found = Executor()
    try:
        async for message in daemon.registry.ConnectExecutor(
            ConnectExecutorRequest(name=name), timeout=CONNECT_S
        ):
            if message.HasField("executor"):
                found = message.executor
            else:
                terminal.say(f"  {message.step}")
    except grpc.aio.AioRpcError as error:
        raise to_error(error) from error
    return found
