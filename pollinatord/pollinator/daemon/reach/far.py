"""What is done at the far end of an ssh connection: the text of this module is sent there and run.

Standard library only, for nothing of ours is there yet; all happens in the user's own folders. Requests are
lines of JSON on stdin, a file's bytes right after its request. Each answer is a line that begins with
``MARK``, so that what a login prints is not taken for one: any number of steps, then a result or trouble.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

MARK = "pollinator:"
NEEDED_BYTES = 400_000_000
"""An environment takes about half of it."""
START_S = 45.0
"""A shared file system may take long to load an environment for the first time."""
STALE_S = 60.0
"""An executor that has not said for so long that it is alive is not."""
LOGIN_S = 20.0
ALIVE_S = 5.0
COMPLETE = "complete"
UNUSED = "unused"
ELSEWHERE = "set ssh.dir to another folder"

Ask = dict[str, Any]
_SAYING = threading.Lock()


class Trouble(Exception):
    """Something that the user has to know: a reason, a sentence, and what to do."""


def say(**word: Any) -> None:
    """Answer a line."""
    with _SAYING:
        sys.stdout.write(f"{MARK}{json.dumps(word)}\n")
        sys.stdout.flush()


class Site:
    """The user's folders here."""

    def __init__(self, ask: Ask) -> None:
        home = Path.home()
        given: str = ask["dir"]
        if given:
            # A folder of our own in it: it may be one that others use as well.
            base = home / Path(os.path.expandvars(given)).expanduser() / f"pollinator-{os.getuid()}"
            if "$" in str(base):
                what = f"ssh.dir names a variable that is not set there: {base}"
                raise Trouble("bad_setting", what, "write the folder out")
            self.data, self.state = base, base
        else:
            self.data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share", "pollinator")
            self.state = Path(os.environ.get("XDG_STATE_HOME") or home / ".local/state", "pollinator")
        self.executors = self.state / "executors"
        self.folder = Path(self.executors, ask["place"])
        self.tag: str = ask["tag"]
        self.settings = json.dumps(ask["settings"], sort_keys=True)
        self.env = self.data / "env" / self.tag
        self.wheels = self.data / "wheels"
        # Not XDG_RUNTIME_DIR, which is wiped when the last session ends: the executor goes on after that.
        folder = f"/tmp/pollinator-{os.getuid()}"  # noqa: S108 - made private before it is used
        # The end of its name is what tells places apart, and paths of sockets are limited.
        self.socket = Path(folder, f"{ask['place'][-8:]}.sock")

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return Path(self.env, "bin", "python")

    def installed(self) -> bool:
        """The environment is whole, and the Python it was made from is still there."""
        return (self.env / COMPLETE).exists() and os.access(self.python, os.X_OK)


# Opening


def look(ask: Ask) -> Ask:
    """What is here; starts the executor when its environment is."""
    site = Site(ask)
    found: Ask = {"host": socket.gethostname(), "installed": site.installed(), "socket": str(site.socket)}
    if not site.installed():
        return found | _facts(site)
    for each in (site.socket.parent, site.folder):
        _private(each)
    if not _serves(site):
        environment = _login_environment()
        kind = ask["kind"] or ("slurm" if shutil.which("sbatch", path=environment.get("PATH")) else "local")
        _start(site, ask, kind, environment)
    _tidy(site)
    return found


def _facts(site: Site) -> Ask:
    libc, version = platform.libc_ver()
    return {
        "python": list(sys.version_info[:2]),
        "implementation": sys.implementation.name,
        "machine": platform.machine(),
        "platform": sysconfig.get_platform(),
        "glibc": version if libc == "glibc" else "",
        "pip": importlib.util.find_spec("ensurepip") is not None,
        "wheels": sorted(each.name for each in site.wheels.glob("*.whl")),
    }


def _serves(site: Site) -> bool:
    """The executor of this very environment listens on this very machine, with these settings."""
    known = _text(site.folder / "env"), _text(site.folder / "settings")
    return listens(site.socket) and known == (site.tag, site.settings)


def _start(site: Site, ask: Ask, kind: str, environment: dict[str, str]) -> None:
    _end_elsewhere(site, kind)
    if listens(site.socket):
        say(step="replacing the executor that runs there")
    _end_here(site)
    (site.folder / "settings").write_text(site.settings)
    (site.folder / "env").write_text(site.tag)
    say(step=f"starting the {kind} executor on {socket.gethostname()}")
    command = [str(site.python), "-E", "-s", "-m", "pollinator.executors.main", kind, "--shared"]
    command += ["--socket", str(site.socket), "--state", str(site.folder)]
    command += [f"--set={name}={value}" for name, value in sorted(ask["settings"].items())]
    log = site.folder / "executor.log"
    before = log.stat().st_size if log.exists() else 0
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            cwd="/",
            env=environment,
            # Of its own session: it must outlive the connection.
            start_new_session=True,
        )
    deadline = time.monotonic() + START_S
    while not listens(site.socket):
        if (code := process.poll()) is not None or time.monotonic() > deadline:
            with log.open("rb") as file:
                file.seek(before)
                words = file.read()[-2000:].decode("utf-8", "replace").strip()
            ended = f"gave no answer for {START_S:.0f} s" if code is None else f"ended with {code}"
            raise Trouble("executor_down", f"the executor there {ended}: {words}", f"its log there is {log}")
        time.sleep(0.02)


def _end_elsewhere(site: Site, kind: str) -> None:
    """One name may lead to several login nodes: only one of them has the executor."""
    alive = site.folder / "alive"
    host = _text(alive)
    if not host or host == socket.gethostname() or _age_s(alive) > STALE_S:
        return
    if kind == "local":
        hint = f"its runs are processes of {host}: add that machine by its own name"
        what = f"the executor runs on {host}, and this is {socket.gethostname()}"
        raise Trouble("on_other_host", what, hint)
    say(step=f"taking over from {host}")
    (site.folder / "end").touch()
    while alive.exists() and _age_s(alive) <= STALE_S:
        time.sleep(0.2)
    (site.folder / "end").unlink(missing_ok=True)


def _end_here(site: Site) -> None:
    """End the executor; its runs go on."""
    if not listens(site.socket):
        # Whoever has its number now is somebody else.
        return
    with contextlib.suppress(OSError, ValueError, IndexError):
        os.kill(int(_text(site.folder / "executor.lock").splitlines()[0]), signal.SIGTERM)
    deadline = time.monotonic() + START_S
    while listens(site.socket) and time.monotonic() < deadline:
        time.sleep(0.02)


def _age_s(path: Path) -> float:
    """By the clock of the file system, for those of several machines may differ."""
    probe = path.with_name(".now")
    probe.touch()
    try:
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return STALE_S + 1
    finally:
        probe.unlink(missing_ok=True)


def _login_environment() -> dict[str, str]:
    """What a user has after logging in, where sites set the paths of their batch system."""
    shell = os.environ.get("SHELL") or "/bin/sh"
    command = [shell, "-lc", f"printf '\\n%s' '{MARK}'; env -0"]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=LOGIN_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        found = dict(os.environ)
    else:
        told = os.fsdecode(done.stdout).partition(f"\n{MARK}")[2].split("\0")
        found = {name: value for name, _, value in (each.partition("=") for each in told) if name}
    # What belongs to this connection ends with it.
    own = {name: value for name, value in found.items() if not name.startswith(("SSH_", "DISPLAY"))}
    return own | {"GRPC_ENABLE_FORK_SUPPORT": "0"}


# Installing


def put(ask: Ask) -> Ask:
    """Keep a wheel; its bytes follow the request."""
    data = sys.stdin.buffer.read(ask["size"])
    if len(data) < ask["size"]:
        raise SystemExit(1)
    wheels = _private(Site(ask).wheels)
    fresh = wheels / f"{ask['name']}.{os.getpid()}"
    with space_for(wheels):
        fresh.write_bytes(data)
        fresh.rename(wheels / ask["name"])
    return {}


def install(ask: Ask) -> Ask:
    """Make the environment: with ``index`` by whatever index pip finds here, else from the wheels alone."""
    site = Site(ask)
    _private(site.data)
    with space_for(site.data), _lock(site):
        if site.installed():
            return {"installed": True}
        free = shutil.disk_usage(site.data).free
        if free < NEEDED_BYTES:
            raise _no_space(site.data, f"{free // 10**6} MB are free, {NEEDED_BYTES // 10**6} are needed")
        shutil.rmtree(site.env, ignore_errors=True)
        why = _make(site, ask)
        if not why:
            (site.env / COMPLETE).touch()
        return {"installed": not why, "why": why}


def _make(site: Site, ask: Ask) -> str:
    """Returns why it did not work; pip's words."""
    say(step=f"making an environment in {site.env}")
    with_pip = importlib.util.find_spec("ensurepip") is not None
    command = [sys.executable, "-m", "venv", *([] if with_pip else ["--without-pip"]), str(site.env)]
    if why := _run(command):
        return why
    pip = ["-m", "pip"] if with_pip else [str(each / "pip") for each in site.wheels.glob("pip-*.whl")][:1]
    say(step="installing" if ask["index"] else "installing from the wheels that were sent")
    command = [str(site.python), *pip, "install", "--no-input", "--disable-pip-version-check", "--quiet"]
    command += ["--only-binary=:all:", "--retries=1", "--timeout=10"]
    if not ask["index"]:
        command += ["--no-index", f"--find-links={site.wheels}"]
    return _run([*command, str(site.wheels / ask["wheel"])])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode == 0:
        return ""
    words = (done.stderr + done.stdout).decode("utf-8", "replace").strip()
    if "No space left" in words or "quota exceeded" in words.lower():
        raise OSError(28, words.splitlines()[-1])
    return words[-2000:] or f"it ended with {done.returncode}"


def _tidy(site: Site) -> None:
    """Remove environments that no executor uses, nor any run that began when one still did."""
    used = {_text(each) for each in site.executors.glob("*/env")}
    # A run that has not ended has the first of these files; the other is never written again.
    going = [each.with_name("request.pb") for each in site.executors.glob("*/runs/*/private.pb")]
    oldest = min((each.stat().st_mtime for each in going), default=time.time())
    for each in site.env.parent.glob("*"):
        unused = each / UNUSED
        if each.name in used or not (each / COMPLETE).exists():
            unused.unlink(missing_ok=True)
        elif not unused.exists():
            unused.touch()
        elif unused.stat().st_mtime < oldest:
            shutil.rmtree(each, ignore_errors=True)


def remove(ask: Ask) -> Ask:
    """End the executor and remove what it kept; with ``runs`` that go on, only end it."""
    site = Site(ask)
    _end_elsewhere(site, "")
    _end_here(site)
    site.socket.unlink(missing_ok=True)
    if not ask["runs"]:
        shutil.rmtree(site.folder, ignore_errors=True)
    _tidy(site)
    return {}


# What all need


def _private(path: Path) -> Path:
    """A folder of this user alone."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if {path.lstat().st_uid, path.stat().st_uid} != {os.getuid()}:
        raise Trouble("cannot_write", f"{path} there belongs to somebody else", ELSEWHERE)
    path.chmod(0o700)
    return path


@contextlib.contextmanager
def _lock(site: Site) -> Generator[None]:
    """One installation at a time, as far as the file system has locks."""
    with (_private(site.data) / "env.lock").open("w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _told_alive() -> Generator[None]:
    """Say now and then that this goes on, so that nobody takes it for dead."""
    done = threading.Event()

    def tell() -> None:
        while not done.wait(ALIVE_S):
            say(alive=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


@contextlib.contextmanager
def space_for(path: Path) -> Generator[None]:
    """Say in plain words that there is no space."""
    try:
        yield
    except OSError as error:
        if error.errno not in (28, 122):
            raise
        raise _no_space(path, error.strerror or "") from error


def _no_space(path: Path, why: str) -> Trouble:
    return Trouble("disk_full", f"no space in {path} there: {why}", f"free some, or {ELSEWHERE}")


def listens(path: Path) -> bool:
    """Somebody takes connections at this socket."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(path))
        return True
    return False


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""


OPERATIONS: dict[str, Callable[[Ask], Ask]] = {"look": look, "put": put, "install": install, "remove": remove}


def main() -> None:
    """Answer requests until there are no more."""
    while line := sys.stdin.buffer.readline():
        ask = json.loads(line)
        try:
            with _told_alive():
                result = OPERATIONS[ask["op"]](ask)
            say(result=result)
        except Trouble as trouble:
            say(trouble=trouble.args)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            say(trouble=("cannot_write", f"{where}{error.strerror or error}", ELSEWHERE))


if __name__ == "__main__":
    main()
