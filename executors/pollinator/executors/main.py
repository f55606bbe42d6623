"""Entry point of ``pollinator-executor KIND --socket PATH --state DIR``."""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import os
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import grpc

from pollinator.chunks.blobs import BlobServicer
from pollinator.chunks.store import Store
from pollinator.chunks.stores import open_store
from pollinator.executors.alive import stay_in_touch
from pollinator.executors.base import Executor
from pollinator.executors.files import CACHE_BYTES, Files
from pollinator.executors.host import ExecutorServicer, RunServicer
from pollinator.executors.lifecycle import Lifecycle
from pollinator.executors.own import OwnStores
from pollinator.executors.runlog import RunFolders
from pollinator.v1 import executor_pb2_grpc, run_pb2_grpc, store_pb2_grpc
from pollinator.v1.run_pb2 import StartRunRequest
from pollinator.wire.certificates import Identity, read_identity
from pollinator.wire.errors import InvalidInput, PollinatorError, WrongState
from pollinator.wire.places import SOCKET_PATH_LIMIT, private_dir
from pollinator.wire.presence import announce, take_lock
from pollinator.wire.serving import (
    ErrorInterceptor,
    add_health_and_reflection,
    bind_unix,
    make_server,
    until_unreachable,
)
from pollinator.wire.tls import bind_secured, host_and_port

if TYPE_CHECKING:
    from pollinator.executors.colonies.site import Site

SERVICES = tuple(f"pollinator.v1.{name}" for name in ("RunService", "BlobService", "ExecutorService"))
GROUP = "pollinator.executors"
CONFORMANCE = "conformance"
THREADS = 16
"""Many, because a store that does not answer holds one until it times out."""
PATIENCE_S = 10.0
"""How long to wait for another executor of this state that is just ending."""

_log = logging.getLogger(__name__)

_PATH = click.Path(path_type=Path, resolve_path=True)
"""Supervisors and ranks have other working folders, so every path is absolute."""


def _socket(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
    if path is None:
        return None
    if len(os.fsencode(path)) > SOCKET_PATH_LIMIT:
        raise click.BadParameter(f"{path} is longer than {SOCKET_PATH_LIMIT} bytes, which no system takes")
    _private(_context, _option, path.parent)
    return path


def _private(_context: click.Context, _option: click.Parameter, path: Path) -> Path:
    try:
        return private_dir(path)
    except OSError as error:
        raise click.BadParameter(str(error)) from error


def _settings(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    pairs = [each.partition("=") for each in given]
    if bad := [name for name, equals, _ in pairs if not (name and equals)]:
        raise click.BadParameter(f"{bad[0]!r} is not NAME=VALUE")
    return {name: value for name, _, value in pairs}


class _Kinds(click.Group):
    """One command for each kind of executor there is, and the suite that holds them to the contract."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands, for help and completion."""
        return [*_known(), CONFORMANCE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The suite, or ``serve`` for a kind, whether or not it is known."""
        if cmd_name != CONFORMANCE:
            return serve
        from pollinator.executors.conformance.command import conformance

        return conformance


@click.command(cls=_Kinds)
def main() -> None:
    """Serve runs on one backend until told to end, or check that somebody does it right."""


class _Refused(click.ClickException):
    """What cannot be meant or not be done, without the usage: who added this executor elsewhere reads it."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class _Place:
    socket: Path
    state: Path
    lock: int
    shared: bool
    """Other machines see the state."""
    secured: tuple[str, Identity] | None
    """Where to listen for other machines, and who we are to them."""


@click.command()
@click.option(
    "--socket", type=_PATH, callback=_socket, help="Unix socket to listen on.  [default: in --state]"
)
@click.option("--state", type=_PATH, callback=_private, required=True, help="Folder for runs and blobs.")
@click.option(
    "--cache-bytes",
    envvar="POLLINATOR_CACHE_BYTES",
    type=click.IntRange(min=0),
    default=CACHE_BYTES,
    show_default=True,
    help="How much to keep for later runs of the same project; 0 keeps nothing.",
)
@click.option("--shared", is_flag=True, help="Other machines see the state: say there that this one has it.")
@click.option("--listen", metavar="HOST:PORT", help="Listen there as well, for who shows a certificate.")
@click.option("--certificate", type=_PATH, help="For --listen: ours.")
@click.option("--key", type=_PATH, help="For --listen: its key.")
@click.option("--authority", type=_PATH, help="For --listen: who signed those of all who may come.")
@click.option("--colonies", is_flag=True, help="Take work from the colony that COLONIES_* name as well.")
@click.option("--set", "settings", metavar="NAME=VALUE", multiple=True, callback=_settings, help="A setting.")
@click.pass_context
def serve(
    ctx: click.Context,
    socket: Path | None,
    state: Path,
    cache_bytes: int,
    shared: bool,
    listen: str | None,
    certificate: Path | None,
    key: Path | None,
    authority: Path | None,
    colonies: bool,
    settings: dict[str, str],
) -> None:
    """Serve runs on one backend until told to end. Runs outlive this process."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )
    try:
        site = _site(state, settings) if colonies else None
        executor = load_executor(str(ctx.info_name)).create(state, settings)
    except InvalidInput as error:
        lines = [f"{each.where} {each.message}" for each in error.violations]
        raise _Refused("\n".join([error.message, *lines])) from error
    socket = socket or _socket(ctx, ctx.command.params[0], state / "executor.sock")
    assert socket is not None
    secured = _secured(listen, certificate, key, authority)
    # Held until the process is gone, so that none of its threads meets its successor.
    lock = _locked(state, socket, by_machine=shared and not executor.needs_locks)
    if lock is None:
        # One for this state is there already, and whoever started us will find it.
        return
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    # Whoever started this may have been told to ignore its children; their exit codes are wanted here.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asyncio.run(_serve(executor, _Place(socket, state, lock, shared, secured), cache_bytes, settings, site))
    logging.shutdown()
    # A thread that lays files out or collects results must not keep the next executor waiting.
    os._exit(0)


def _locked(state: Path, socket: Path, *, by_machine: bool) -> int | None:
    """The lock of the state; None where another executor has it and stays."""
    try:
        return take_lock(state / "executor.lock", PATIENCE_S, moving_to=socket, by_machine=by_machine)
    except WrongState as error:
        raise _Refused(f"{error.message}\n{error.hint}") from error


def _secured(
    listen: str | None, certificate: Path | None, key: Path | None, authority: Path | None
) -> tuple[str, Identity] | None:
    """Where to listen for other machines; never without certificates."""
    if listen is None:
        if certificate or key or authority:
            raise click.UsageError("certificates are for --listen HOST:PORT, which is missing")
        return None
    if certificate is None or key is None or authority is None:
        raise click.UsageError(
            "--listen needs --certificate, --key and --authority: see 'pollinator executors certificate'"
        )
    identity = Identity(certificate, key, authority)
    try:
        host_and_port(listen)
        read_identity(identity)
    except PollinatorError as error:
        raise click.BadParameter("\n".join(filter(None, (error.message, error.hint)))) from error
    return listen, identity


def load_executor(kind: str) -> type[Executor]:
    """The executor that is registered under this name.

    Raises:
        click.BadParameter: there is none, or two packages claim it.
    """
    found = [point for point in importlib.metadata.entry_points(group=GROUP) if point.name == kind]
    if len(found) != 1:
        text = (
            "is registered by several packages"
            if found
            else f"is not known; known are: {', '.join(_known())}"
        )
        raise click.BadParameter(f"executor {kind!r} {text}")
    loaded: type[Executor] = found[0].load()
    return loaded


def _known() -> list[str]:
    return sorted({point.name for point in importlib.metadata.entry_points(group=GROUP)})


def _site(state: Path, settings: dict[str, str]) -> Site:
    """The colony to serve; its settings are taken from among those of the executor."""
    # Who serves no colony needs nothing of what talks to one.
    from pollinator.executors.colonies.site import SETTINGS, site_from_environment

    ours = {name: settings.pop(name) for name in list(settings) if name.startswith(SETTINGS)}
    return site_from_environment(os.environ, state / "colony", ours)


async def _serve(
    executor: Executor, place: _Place, cache_bytes: int, settings: Mapping[str, str], site: Site | None
) -> None:
    socket, state = place.socket, place.state
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    threads = ThreadPoolExecutor(THREADS, thread_name_prefix="stage")
    folders = RunFolders(state / "runs")
    own = OwnStores(state / "store", folders.needs)
    store_of = partial(_store_of, own)
    files = Files(store_of, private_dir(state / "cache"), cache_bytes)
    lifecycle = Lifecycle(executor, store_of, threads, files)
    server = make_server(ErrorInterceptor(logging.getLogger("pollinator.executors")))
    async with asyncio.TaskGroup() as group:
        runs = RunServicer(executor, folders, lifecycle, group)
        run_pb2_grpc.add_RunServiceServicer_to_server(runs, server)
        about = ExecutorServicer(executor, folders, threads, f"unix:{socket}", settings)
        executor_pb2_grpc.add_ExecutorServiceServicer_to_server(about, server)
        store_pb2_grpc.add_BlobServiceServicer_to_server(BlobServicer(own.of), server)
        await add_health_and_reflection(server, SERVICES)
        runs.recover()
        await _listen(server, place)
        beside = {
            "backend": executor.serve(),
            "socket": _stop_when_unreachable(socket, stop),
            "alive": _stay_in_touch(place, threads, stop),
            "garbage": own.keep_tidy(threads),
        }
        if site is not None:
            beside["colony"] = site.serve(f"unix:{socket}", own.of, executor.capabilities)
        tasks = [group.create_task(work, name=name) for name, work in beside.items()]
        await stop.wait()
        for task in tasks:
            task.cancel()
        await server.stop(1.0)
        group.create_task(_cancel_all(), name="stop")
    # Only now: a run that is just being laid out would take it for a failure.
    files.close()


def _store_of(own: OwnStores, request: StartRunRequest) -> Store:
    source = request.snapshot
    return open_store(source.store, source.spec.project, own=own.of(source.spec.project))


async def _listen(server: grpc.aio.Server, place: _Place) -> None:
    bind_unix(server, place.socket)
    if place.secured is not None:
        bind_secured(server, *place.secured)
    announce(place.lock, place.socket)
    await server.start()
    _log.info("listening at %s", place.secured[0] if place.secured is not None else place.socket)


async def _stay_in_touch(place: _Place, threads: ThreadPoolExecutor, stop: asyncio.Event) -> None:
    if place.shared:
        await stay_in_touch(place.state, threads, stop)


async def _stop_when_unreachable(socket: Path, stop: asyncio.Event) -> None:
    """An executor that nobody can reach would only keep others from taking its place."""
    await until_unreachable(socket)
    _log.error("%s is gone, so nobody can reach this executor", socket)
    stop.set()


async def _cancel_all() -> None:
    """Let go of all runs: they go on under their supervisors."""
    for task in asyncio.all_tasks():
        if task.get_name().startswith("run "):
            task.cancel()


if __name__ == "__main__":
    main()
