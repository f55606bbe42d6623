"""The system's own ssh, so that the user's configuration, agent and jump hosts work. Only this module does.

One master connection for each place carries everything else; it outlives the daemon. Where the user's own
configuration shares connections and one is open, that is used. Words on stderr are all that ssh says about
what went wrong: they become errors here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pollinator.daemon.reach.far import MARK
from pollinator.daemon.reach.transport import NotLoggedIn, Place, Tell
from pollinator.wire.errors import InvalidInput, PollinatorError, Unavailable, WrongState
from pollinator.wire.places import private_dir

CONNECT_S = 15
"""Longest time for a connection to come about."""
LOGIN_S = 60.0
"""Longest time for that and the login, with all jump hosts."""
WORD_S = 30.0
"""Longest silence of the far program: it says that it is alive every few seconds."""
DONE_S = 1200.0
"""Longest time for one request, whatever is said meanwhile: a slow file system takes minutes to install."""
CONTROL_S = 10.0
END_S = 1.0

OPTIONS = (
    f"ConnectTimeout={CONNECT_S}",
    # Two minutes: a login may have cost a code, and most cuts are shorter. ``replace`` does not wait for it.
    "ServerAliveInterval=15",
    "ServerAliveCountMax=8",
    "StreamLocalBindUnlink=yes",
    "ControlPersist=no",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    "RequestTTY=no",
    "LogLevel=ERROR",
)

# Quoted for sh, bash, zsh, csh and fish alike: no single quote, line break, backslash or exclamation mark.
_PROGRAM = """\
t() { "$1" -c "import sys; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1; }; \
f() { for p in PYTHONS; do if t "$p"; then y="$p"; return; fi; done; return 1; }; \
f || { PATH="$("${SHELL:-/bin/sh}" -lc "printf %s:%s MARKPATH \\"\\$PATH\\"" </dev/null 2>/dev/null \
| sed -n "s/.*MARKPATH://p"):$PATH"; export PATH; f; } \
|| { echo "NOPYTHON $(python3 --version 2>&1)"; exit 3; }; \
exec "$y" -I -u -c "import sys; b = sys.stdin.buffer; exec(b.read(int(b.readline())))"
"""
PYTHONS = "python3.13 python3.12 python3.11 python3"
SILENT = "host_silent"
_FAILED = 255
"""How ssh ends when it is itself what failed."""
_NO_PYTHON = b"NOPYTHON "
_SAFE = re.compile(r"[\w./~+-]+", re.ASCII)


def far_command(python: str) -> str:
    """What any login shell is asked to run: the first Python that can, which reads its program from stdin."""
    script = _PROGRAM.replace("PYTHONS", f"{python} {PYTHONS}".strip(), 1).replace("\n", " ").strip()
    return f"exec /bin/sh -c '{script}'"


class Ssh:
    """Everything that is asked of ssh for one place."""

    def __init__(self, place: Place, command: Sequence[str], control: Path) -> None:
        self._name = place.name
        self._destination = place.address
        self._command = list(command)
        self._own = ["-o", f"ControlPath={control}"]
        self._control = control
        self._shared = self._own
        self.python = place.settings.get("ssh.python", "")
        if self.python and not _SAFE.fullmatch(self.python):
            raise InvalidInput(f"ssh.python cannot be {self.python!r}", reason="bad_setting")

    def login(self) -> list[str]:
        """The program that makes the master connection, and may ask the user for what it needs."""
        return [*self._base(), *self._own, "-M", "-N", "-f", self._destination]

    async def connect(self, tell: Tell, refused: NotLoggedIn | None = None) -> None:
        """See to it that there is a master connection; asks nobody for anything.

        Args:
            tell: told what is done.
            refused: raised instead of trying to log in: it did not work a moment ago.

        Raises:
            NotLoggedIn: it takes somebody who logs in.
            Unavailable: nobody answers there.
        """
        for shared in (self._own, ["-o", "ControlMaster=no"]):
            if await self._control_command(shared, "check"):
                self._shared = shared
                return
        if refused is not None:
            raise refused.with_traceback(None)
        await self._start(tell)

    async def _start(self, tell: Tell) -> None:
        self._shared = self._own
        private_dir(self._control.parent)
        tell(f"connecting to {self._destination}")
        master = [*self._base(), *self._own, "-o", "BatchMode=yes", "-o", "ClearAllForwardings=yes"]
        code, words = await self._run([*master, "-M", "-N", "-f", self._destination], LOGIN_S)
        if code:
            raise self.error(words)

    async def replace(self, tell: Tell) -> None:
        """The master connection is silent: make another one, if that takes nobody's login.

        Raises:
            Unavailable: nobody answers, or somebody would have to log in: the old connection may come back.
        """
        if not await self._control_command(self._shared, "check"):
            await self.connect(tell)
            return
        fresh = [*self._base(), "-o", "ControlPath=none", "-o", "BatchMode=yes"]
        code, words = await self._run([*fresh, self._destination, "exit"], LOGIN_S)
        if code == _FAILED:
            error = self.error(words)
            if isinstance(error, NotLoggedIn):
                raise self.silence()
            raise error
        tell(f"{self._destination} is silent: connecting anew")
        await self.disconnect()
        await self._start(tell)

    def endless(self) -> Unavailable:
        """Something comes, and never what was asked for."""
        return Unavailable(
            f"executor {self._name} at {self._destination} goes on talking without an answer",
            reason="executor_down",
            hint=f"see what is printed there: ssh {self._destination} true",
        )

    def silence(self) -> Unavailable:
        """The connection is there, and nothing comes."""
        return Unavailable(
            f"no word from executor {self._name} at {self._destination}",
            reason=SILENT,
            hint="the connection may come back by itself",
        )

    async def disconnect(self) -> None:
        """End our own master connection, and with it what it forwards."""
        await self._control_command(self._own, "exit")

    async def forward(self, here: Path, there: str) -> None:
        """Let a socket here lead to one there.

        Raises:
            PollinatorError: it cannot be had.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(here)
        spec = ["-L", f"{here}:{there}"]
        # A master that has it already would not listen again.
        await self._control_command(self._shared, "cancel", *spec)
        if not await self._control_command(self._shared, "forward", *spec):
            raise Unavailable(
                f"{self._destination} does not forward {there}",
                reason="forwarding_refused",
                hint="its sshd needs AllowStreamLocalForwarding, which is on by default",
            )

    @asynccontextmanager
    async def conversation(self, program: str, tell: Tell) -> AsyncGenerator[Conversation]:
        """Talk to a Python program over there.

        Raises:
            PollinatorError: it cannot be run.
        """
        command = [*self._base(), *self._shared, "-o", "BatchMode=yes"]
        with tempfile.TemporaryFile() as words:
            process = await self._spawn(
                [*command, self._destination, far_command(self.python)], words.fileno(), pipes=True
            )
            try:
                talk = Conversation(self, process, tell)
                talk.send(program.encode())
                yield talk
            except ConnectionError as error:
                words.seek(0)
                raise self.error(words.read().decode("utf-8", "replace")) from error
            finally:
                await _ended(process)

    def error(self, words: str) -> PollinatorError:
        """What ssh meant."""
        last = next((line for line in reversed(words.splitlines()) if line.strip()), "no word from ssh")
        fix = f"pollinator executors login {self._name}"
        to = f"executor {self._name} at {self._destination}"
        if "HOST IDENTIFICATION HAS CHANGED" in words:
            found = re.search(r"ssh-keygen.*", words)
            told = found[0] if found else f"ssh-keygen -R {self._destination}"
            return NotLoggedIn(
                f"{to} has another host key than before: ask its administrators why",
                reason="host_key_changed",
                fix=f"if it is right: {told}",
            )
        if "Host key verification failed" in words:
            what = f"nobody has looked at the host key of {to} yet"
            return NotLoggedIn(what, reason="host_key_unknown", fix=fix)
        if re.search(r"Permission denied|authentication (failures|methods)|passphrase", words):
            return NotLoggedIn(f"{to} needs a login", reason="login_needed", fix=fix)
        return Unavailable(
            f"{to} cannot be reached: {last.strip()}",
            reason="host_unreachable",
            hint=f"try it yourself: ssh {self._destination}",
        )

    def no_python(self, found: str) -> WrongState:
        """Nothing there can run the program."""
        return WrongState(
            f"there is no Python 3.11 or newer at {self._destination}, only {found or 'none'}",
            reason="no_python",
            hint=f"add it with --set ssh.python=PATH after: pollinator executors remove {self._name}",
        )

    def _base(self) -> list[str]:
        return [*self._command, *(word for option in OPTIONS for word in ("-o", option))]

    async def _control_command(self, shared: Sequence[str], command: str, *more: str) -> bool:
        line = [*self._base(), *shared, "-O", command, *more, self._destination]
        code, _ = await self._run(line, CONTROL_S)
        return code == 0

    async def _run(self, command: Sequence[str], patience_s: float) -> tuple[int, str]:
        """Its exit code and what it said. A file takes that: the master would keep a pipe open for ever."""
        with tempfile.TemporaryFile() as words:
            process = await self._spawn(command, words.fileno(), pipes=False)
            try:
                async with asyncio.timeout(patience_s):
                    code = await process.wait()
            except TimeoutError:
                return _FAILED, f"no answer for {patience_s:.0f} s"
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            words.seek(0)
            return code, words.read().decode("utf-8", "replace")

    async def _spawn(self, command: Sequence[str], words: int, *, pipes: bool) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE if pipes else asyncio.subprocess.DEVNULL
        try:
            return await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=words, start_new_session=True, limit=1 << 20
            )
        except OSError as error:
            raise WrongState(
                f"{command[0]} cannot be run: {error.strerror}",
                reason="ssh_missing",
                hint="install OpenSSH's client, or set ssh_command to where it is",
            ) from error


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Kill it. A silent master keeps its pipes open, and as long as that asyncio would wait."""
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(END_S):
            await process.wait()


class Conversation:
    """Requests to a program at the far end, and its answers."""

    def __init__(self, ssh: Ssh, process: asyncio.subprocess.Process, tell: Tell) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._ssh = ssh
        self._in, self._out = process.stdin, process.stdout
        self._tell = tell

    def send(self, data: bytes) -> None:
        """Its length on a line, then the bytes."""
        self._in.write(b"%d\n" % len(data) + data)

    async def ask(self, request: dict[str, Any], data: bytes = b"") -> dict[str, Any]:
        """Make a request, with bytes that belong to it, and wait for its result.

        Raises:
            ConnectionError: the connection ended.
            PollinatorError: what the far program said.
        """
        self._in.write(json.dumps(request).encode() + b"\n" + data)
        sending_s = len(data) / 10_000
        whole = asyncio.timeout(DONE_S + sending_s)
        try:
            async with whole:
                async with asyncio.timeout(WORD_S + sending_s):
                    await self._in.drain()
                return await self._result()
        except TimeoutError:
            raise (self._ssh.endless() if whole.expired() else self._ssh.silence()) from None
        except ValueError:
            # A line that is longer than any of ours.
            raise self._ssh.endless() from None

    async def _result(self) -> dict[str, Any]:
        while True:
            async with asyncio.timeout(WORD_S):
                line = await self._out.readline()
            if (word := self._word(line)) is None:
                continue
            if "step" in word:
                self._tell(word["step"])
            elif "trouble" in word:
                reason, message, hint = word["trouble"]
                raise _trouble(reason, message, hint)
            elif "result" in word:
                result: dict[str, Any] = word["result"]
                return result

    def _word(self, line: bytes) -> dict[str, Any] | None:
        if not line:
            raise ConnectionResetError
        if line.startswith(_NO_PYTHON):
            raise self._ssh.no_python(line.removeprefix(_NO_PYTHON).decode("utf-8", "replace").strip())
        # Logging in may print all kinds of things.
        _, mark, text = line.decode("utf-8", "replace").partition(MARK)
        try:
            word: dict[str, Any] | None = json.loads(text) if mark else None
        except ValueError:
            return None
        return word


def _trouble(reason: str, message: str, hint: str) -> PollinatorError:
    kind = Unavailable if reason in ("executor_down", "on_other_host") else WrongState
    return kind(message, reason=reason, hint=hint)
