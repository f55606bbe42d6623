"""Programs that users of clusters get their tokens from: run with a time limit, ended when they hang.

The protocol is that of ``client.authentication.k8s.io``: what is asked is in ``KUBERNETES_EXEC_INFO``, the
answer is JSON on stdout. What a program prints is never repeated where it may be a token.

``python -m pollinator.wire.plugin FILES CONTEXT`` runs one in the user's own terminal.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from pollinator.wire.documents import Entry, as_entries, as_entry, as_list
from pollinator.wire.errors import InvalidInput, NeedsLogin, PollinatorError
from pollinator.wire.kubeconfig import Context, config_files, find_context
from pollinator.wire.starting import started

LIMIT_S = 60.0
"""So long a program may take: some ask a server far away, and none may ask a person."""
MOST_BYTES = 1024 * 1024
"""No answer is longer."""
WORDS = 300
"""How much of what it says on stderr is repeated."""
_SECRET = re.compile(r"[\w+=-]{32,}", re.ASCII)
_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


def login_of(context: Context) -> list[str]:
    """How the program is run in the user's own terminal, to log in; its answer is not shown there.

    What the files give it as variables may be secret: it is read again there, and in no list of processes.
    """
    if context.plugin is None:
        return []
    files = os.pathsep.join(map(str, context.files))
    # Not from the folder where the user is, which may have modules of any name.
    return [sys.executable, "-P", "-m", "pollinator.wire.plugin", files, context.name]


async def ask(context: Context, environ: Mapping[str, str], *, limit_s: float = LIMIT_S) -> Entry:
    """Run the program of a context's user, and return the status that it answers.

    Args:
        context: what is meant.
        environ: its environment, to which what the files say is added.
        limit_s: longest time it may take.

    Raises:
        InvalidInput: what is to be run cannot be meant.
        NeedsLogin: it is missing, refuses, hangs, or gives no credentials.
    """
    plugin = context.plugin
    assert plugin is not None
    command = _command(context, plugin)
    if plugin.get("interactiveMode") == "Always":
        raise _refused(context, f"{command[0]} asks somebody each time, which nobody can answer here")
    environment = _environment(context, plugin, environ, interactive=False)
    transport, heard = await _started(context, plugin, command, environment)
    try:
        async with asyncio.timeout(limit_s):
            await heard.until_ended(transport.get_pid())
    except TimeoutError:
        raise _refused(context, f"{command[0]} gave no answer for {limit_s:.3g} s and was ended") from None
    finally:
        await _end((transport, heard))
    if code := transport.get_returncode():
        raise _refused(context, f"{command[0]} ended with {code}: {_said(bytes(heard.kept[2]))}")
    return _status(context, plugin, command[0], bytes(heard.kept[1]))


async def _started(
    context: Context, plugin: Entry, command: Sequence[str], environment: Mapping[str, str]
) -> tuple[asyncio.SubprocessTransport, _Heard]:
    process = asyncio.get_running_loop().subprocess_exec(
        _Heard,
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
        cwd=context.user_folder,
        # Of its own group: what it has started is ended with it.
        start_new_session=True,
    )
    try:
        return await started(process, _end)
    except OSError as error:
        more = str(plugin.get("installHint") or "").strip()
        raise _refused(context, f"{command[0]} cannot be run: {error.strerror}", more) from error


class _Heard(asyncio.SubprocessProtocol):
    """Both outputs of a program, as much as counts: all is read, so that nobody waits for us.

    Not asyncio's streams: there the end of a program is known only once nobody has its outputs any more, and
    what it leaves behind may have them for good.
    """

    def __init__(self) -> None:
        self.kept = {1: bytearray(), 2: bytearray()}
        self.ended = asyncio.Event()
        """The program, that is."""
        self._open = {1, 2}
        self._closed = asyncio.Event()

    async def until_ended(self, pid: int) -> None:
        """Wait for all that it has to say; what it leaves running in its group is ended."""
        await self.ended.wait()
        _end_group(pid)
        await self._closed.wait()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """What is too long is cut, and is no answer then."""
        self.kept[fd] += data[: MOST_BYTES - len(self.kept[fd])]

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Nobody can print there any more."""
        self._open.discard(fd)
        if not self._open:
            self._closed.set()

    def process_exited(self) -> None:
        """The program has ended."""
        self.ended.set()


async def _end(program: tuple[asyncio.SubprocessTransport, _Heard]) -> None:
    transport, heard = program
    if not heard.ended.is_set():
        _end_group(transport.get_pid())
        await heard.ended.wait()
    transport.close()


def _end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _status(context: Context, plugin: Entry, name: str, out: bytes) -> Entry:
    try:
        answer = as_entry(json.loads(out))
        status, version = as_entry(answer["status"]), answer["apiVersion"]
    except (ValueError, LookupError, RecursionError):
        # Not repeated: a part of it may be a token.
        raise _refused(context, f"{name} does not answer as a plugin of kubectl does") from None
    if version != plugin.get("apiVersion"):
        raise _refused(
            context, f"{name} answers in {version!r}, and {plugin.get('apiVersion')!r} was asked for"
        )
    if not (status.get("token") or status.get("clientCertificateData")):
        raise _refused(context, f"{name} gives neither a token nor a certificate")
    return status


def _command(context: Context, plugin: Entry) -> list[str]:
    name, arguments = plugin.get("command"), as_list(plugin.get("args"))
    if not isinstance(name, str) or not name or (plugin.get("args") and not arguments):
        raise _bad(context, "its program has no command")
    if plugin.get("apiVersion") not in _VERSIONS:
        raise _bad(
            context, f"its program speaks {plugin.get('apiVersion')!r}; known are {', '.join(_VERSIONS)}"
        )
    if "/" in name:
        name = str(context.user_folder / name)
    return [name, *map(str, arguments)]


def _environment(
    context: Context, plugin: Entry, environ: Mapping[str, str], *, interactive: bool
) -> dict[str, str]:
    listed = as_entries(plugin.get("env"))
    given = {str(each["name"]): str(each.get("value", "")) for each in listed if "name" in each}
    told = json.dumps(_told(context, plugin, interactive=interactive))
    return {**environ, **given, "KUBERNETES_EXEC_INFO": told}


def _told(context: Context, plugin: Entry, *, interactive: bool) -> dict[str, Any]:
    spec: dict[str, Any] = {"interactive": interactive and plugin.get("interactiveMode") != "Never"}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = _about(context.cluster)
    return {"apiVersion": plugin.get("apiVersion"), "kind": "ExecCredential", "spec": spec}


def _about(cluster: Mapping[str, Any]) -> dict[str, Any]:
    names = {
        "server": "server",
        "tls-server-name": "tls-server-name",
        "insecure-skip-tls-verify": "insecure-skip-tls-verify",
        "certificate-authority-data": "certificate-authority-data",
        "proxy-url": "proxy-url",
    }
    about = {name: cluster[given] for given, name in names.items() if cluster.get(given)}
    for each in as_entries(cluster.get("extensions")):
        if each.get("name") == "client.authentication.k8s.io/exec":
            about["config"] = each.get("extension")
    return about


def _bad(context: Context, why: str) -> InvalidInput:
    return InvalidInput(
        f"the user of context {context.name} in {context.user_file} cannot be meant: {why}",
        reason="bad_kubeconfig",
    )


def _refused(context: Context, why: str, more: str = "") -> NeedsLogin:
    return NeedsLogin(
        f"no credentials for context {context.name}: {why}",
        reason="kubernetes_login",
        hint=more or context.login,
    )


def _said(words: bytes) -> str:
    """What a program says on stderr, without what may be a token."""
    plain = " ".join(words.decode("utf-8", "replace").split())
    return _SECRET.sub("[...]", plain)[-WORDS:] or "it said nothing"


def _log_in(files: str, name: str) -> NoReturn:
    """Become the program of a context's user.

    Raises:
        InvalidInput: there is none, or it cannot be meant.
        OSError: it cannot be run.
    """
    context = find_context(config_files(files, {}), name, files)
    if (plugin := context.plugin) is None:
        raise _bad(context, "it has no program to log in with")
    command = _command(context, plugin)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    environment = _environment(context, plugin, os.environ, interactive=True)
    os.execvpe(command[0], command, environment)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    try:
        _log_in(*sys.argv[1:])
    except (PollinatorError, OSError) as failed:
        sys.exit(str(failed))
