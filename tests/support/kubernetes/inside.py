"""Becomes a container: lays out the file system of its namespaces, and then is its command.

It is run by itself, with nothing of this project: it is the first process of a container, and is in a hurry.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import sys
import warnings

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Takes longer to import than all that is done here.
    from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = (
    *(1, 2, 4, 8, 32, 4096, 16384, 1 << 18),
)
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, SIGKILL = 1, 38, 9
SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "usr", "etc", "opt")
EMPTY = (
    *(
        "proc",
        "sys",
        "dev",
        "run",
        "var",
        "home",
        "root",
        "mnt",
        "srv",
        "tmp",
        "var/tmp",
        "var/lib",
        "var/log",
    ),
)
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
NEEDED = (warnings,)
"""By what starts a command, when it cannot be found any more."""
libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    if libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def bind(source: str, target: str, *, read_only: bool) -> None:
    mount(source, target, flags=MS_BIND | MS_REC)
    if read_only:
        mount("none", target, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def place(source: str, target: str) -> None:
    """There has to be something to mount on."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb"):
            pass


def lay_out(root: str, plan: dict[str, Any]) -> None:
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount("tmpfs", root, "tmpfs", MS_NOSUID, "mode=0755,size=1g")
    for name in SYSTEM:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
        elif os.path.isdir(f"/{name}"):
            os.mkdir(f"{root}/{name}")
            bind(f"/{name}", f"{root}/{name}", read_only=True)
    for name in EMPTY:
        os.mkdir(f"{root}/{name}")
    for name in ("tmp", "var/tmp"):
        os.chmod(f"{root}/{name}", 0o1777)
    # Relative: what is mounted below it must not land in the run of the host.
    os.symlink("../run", f"{root}/var/run")
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    bind("/sys", f"{root}/sys", read_only=True)
    groups(root, plan["groups"])
    devices(root)
    for source in plan["visible"]:
        if not os.path.exists(root + source):
            place(source, root + source)
            bind(source, root + source, read_only=True)
    for source, target, read_only in sorted(plan["binds"], key=lambda each: each[1].count("/")):
        at = os.path.normpath(root + target)
        place(source, at)
        bind(source, at, read_only=read_only)
    if plan["read_only_root"]:
        mount("none", root, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def groups(root: str, paths: dict[str, str]) -> None:
    """The container's own control groups are the only ones that it sees."""
    if not paths:
        return
    top = f"{root}/sys/fs/cgroup"
    mount("tmpfs", top, "tmpfs", MS_NOSUID, "mode=0755,size=64k")
    for name, path in paths.items():
        os.mkdir(f"{top}/{name}")
        bind(path, f"{top}/{name}", read_only=True)


def devices(root: str) -> None:
    for name in DEVICES:
        if os.path.exists(f"/dev/{name}"):
            place(f"/dev/{name}", f"{root}/dev/{name}")
            bind(f"/dev/{name}", f"{root}/dev/{name}", read_only=False)
    for name, target in LINKS.items():
        os.symlink(target, f"{root}/dev/{name}")
    os.mkdir(f"{root}/dev/shm")
    mount("shm", f"{root}/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=64m")


def become(plan: dict[str, Any]) -> None:
    for path in plan["groups"].values():
        with open(f"{path}/cgroup.procs", "w") as file:
            file.write("0")
    lay_out(plan["root"], plan)
    socket.sethostname(plan["hostname"])
    os.chroot(plan["root"])
    os.chdir("/")
    os.setsid()
    os.umask(0o022)
    if plan["cwd"] != "/":
        os.makedirs(plan["cwd"], exist_ok=True)
    os.setgroups(plan["more_groups"])
    os.setgid(plan["gid"])
    os.setuid(plan["uid"])
    if plan["no_new_privileges"]:
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    os.chdir(plan["cwd"])
    for number in range(1, 65):
        # Whoever started the tests may have been deaf to some.
        libc.signal(number, None)
    os.execvpe(plan["argv"][0], plan["argv"], plan["env"])


def main() -> None:
    with open(f"{sys.argv[1]}/plan.json") as file:
        plan = json.load(file)
    tells = os.open(f"{sys.argv[1]}/told", os.O_WRONLY | os.O_CLOEXEC)
    try:
        become(plan)
    except FileNotFoundError:
        os.write(tells, f'exec: "{plan["argv"][0]}": executable file not found in $PATH'.encode())
    except OSError as error:
        os.write(tells, f"{(error.strerror or '').lower()}: {error.filename or plan['argv'][0]}".encode())
    os._exit(128)


main()
