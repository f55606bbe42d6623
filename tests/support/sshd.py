"""A machine behind ssh: a real sshd on loopback, with a home of its own for whoever logs in."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from support.components import Process, listens, program
from support.link import Line
from support.private import CALLER
from support.sandbox import wait_until
from support.scripted_s3 import unused_port

SOURCE = "apt-get install openssh-server, or make components"

_SERVER = """\
ListenAddress {host}
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
# Servers of other tests must not look like too many logins.
MaxStartups 100
SetEnv {variables}
"""

_CLIENT = """\
Host *
    IdentityFile {folder}/key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile {folder}/known
    GlobalKnownHostsFile /dev/null
"""


def pip_settings() -> dict[str, str]:
    """What pip goes by for whoever started the tests: in another home it would not find that."""
    found = {name: text for name, text in CALLER.items() if name.startswith("PIP_")}
    own = Path(CALLER.get("HOME", "/nowhere"), ".config/pip/pip.conf")
    return {"PIP_CONFIG_FILE": str(own), **found} if own.exists() else found


class Site:
    """A machine behind ssh.

    Args:
        folder: an empty one for all that it writes, also what the user has there.
        user: who logs in.
        variables: what a session sees, besides HOME.
        line: the one that leads there, or None.
        host: an address of this machine for one that no line leads to.
    """

    def __init__(
        self,
        folder: Path,
        user: str,
        variables: Mapping[str, str],
        line: Line | None,
        host: str = "127.0.0.1",
    ) -> None:
        self.folder = folder
        self.user = user
        self._line = line
        self.host = line.far if line else host
        self.port = unused_port()
        self.home = folder / "far"
        self._sshd = program("sshd", "ssh", SOURCE)
        self._authorized = folder / "authorized"
        self.home.mkdir(mode=0o700)
        if user != getpass.getuser():
            owner = pwd.getpwnam(user)
            os.chown(self.home, owner.pw_uid, owner.pw_gid)
            folder.chmod(0o755)
        for name in ("host", "key"):
            self._make_key(folder / name)
        kept = {"HOME": str(self.home), **pip_settings(), **variables}
        (folder / "sshd_config").write_text(
            _SERVER.format(
                host=self.host,
                port=self.port,
                folder=folder,
                variables=" ".join(f'"{name}={text}"' for name, text in kept.items()),
            )
        )
        self.client = folder / "ssh_config"
        self.client.write_text(_CLIENT.format(folder=folder))
        self.let_in()
        self.trust()
        self.start()

    @property
    def address(self) -> str:
        """What a user adds."""
        return f"ssh://{self.user}@{self.host}:{self.port}"

    @property
    def command(self) -> str:
        """How ssh is called, so that the real user's configuration and keys are left alone."""
        return f"ssh -F {self.client}"

    def start(self) -> None:
        """Answer."""
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        config = str(self.folder / "sshd_config")
        command = [self._sshd, "-D", "-e", "-f", config]
        self._process = Process(
            self._line.there(*command) if self._line else command, self.folder / "sshd.log"
        )
        self._process.wait_for(lambda: listens(self.port, self.host), "sshd")

    def stop(self) -> None:
        """Answer nobody new; who is logged in stays."""
        self._process.stop()

    def cut(self) -> None:
        """End every connection, as a network or a login node that goes away does."""
        for pid in self._sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def logins(self) -> int:
        """How often somebody has logged in."""
        return (self.folder / "sshd.log").read_text().count("Accepted publickey")

    def refusals(self) -> int:
        """How often somebody was not let in."""
        return (self.folder / "sshd.log").read_text().count("[preauth]")

    def let_in(self) -> None:
        """The user's key opens."""
        shutil.copy(self.folder / "key.pub", self._authorized)
        self._authorized.chmod(0o644)

    def lock_out(self) -> None:
        """It does not."""
        self._authorized.write_text("")

    def trust(self) -> None:
        """The user has looked at the host key."""
        key = " ".join((self.folder / "host.pub").read_text().split()[:2])
        (self.folder / "known").write_text(f"[{self.host}]:{self.port} {key}\n")

    def forget_host_key(self) -> None:
        """The user has never been there."""
        (self.folder / "known").write_text("")

    def pids_of(self, module: str) -> list[int]:
        """Processes there that run a module or a file."""
        found: list[int] = []
        for pid in self._pids():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                if any(word == module or word.endswith(f"/{module}") for word in words):
                    found.append(pid)
        return found

    def distrust(self) -> None:
        """The user has seen another host key."""
        key = " ".join((self.folder / "key.pub").read_text().split()[:2])
        (self.folder / "known").write_text(f"[{self.host}]:{self.port} {key}\n")

    def end_all(self) -> None:
        """Kill all that users have there."""
        while pids := self._pids():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def end(self, module: str) -> None:
        """Kill all that run a module."""
        pids = self.pids_of(module)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not set(pids) & set(self.pids_of(module)), f"{module} is gone")

    def close(self) -> None:
        """End everything that was started here, and only that."""
        self.stop()
        self.cut()
        self.end_all()

    def _make_key(self, path: Path) -> None:
        command = [program("ssh-keygen", "ssh", SOURCE), "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    def _pids(self) -> list[int]:
        """Processes that have this home."""
        mark = f"HOME={self.home}\0".encode()
        found: list[int] = []
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if mark in Path(f"/proc/{name}/environ").read_bytes() + b"\0":
                    found.append(int(name))
        return found

    def _sessions(self) -> list[int]:
        """sshd's processes for connections to this port."""
        found: list[int] = []
        mine = f"{self.port:04X}"
        inodes = {
            line.split()[9]
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if line.split()[1].endswith(f":{mine}") and line.split()[3] == "01"
        }
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                links = {os.readlink(each) for each in Path(f"/proc/{name}/fd").iterdir()}
                if links & {f"socket:[{inode}]" for inode in inodes}:
                    found.append(int(name))
        return found


@contextmanager
def site(
    user: str = "",
    variables: Mapping[str, str] | None = None,
    line: Line | None = None,
    host: str = "127.0.0.1",
) -> Generator[Site]:
    """A machine behind ssh for the time of the context."""
    folder = Path(tempfile.mkdtemp(prefix="pol-ssh-"))
    try:
        made = Site(folder, user or getpass.getuser(), variables or {}, line, host)
        try:
            yield made
        finally:
            made.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
