"""Which container engines work here.

Asking takes a tenth of a second, and for ever where a daemon hangs. So it is done in threads, by whoever
needs to know first, and remembered.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pollinator.executors.containers.tool import plain
from pollinator.wire.errors import InvalidInput, Violation, WrongState

ON_A_LAPTOP = ("docker", "podman", "apptainer", "singularity")
"""Which comes first where several work."""

ON_A_CLUSTER = ("apptainer", "singularity")
CONVERTING = ("apptainer", "singularity")
"""Those that run one file instead of layers that a daemon keeps."""

HOST = "none"
ANSWER_S = 5.0
GOOD_S = 300.0
BAD_S = 15.0
"""So long an answer is believed: one that found engines, one that did not."""

_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+)+\S*")


@dataclass(frozen=True, slots=True)
class Engine:
    """One that works."""

    name: str
    program: str
    """Its path."""
    version: str

    @property
    def converts(self) -> bool:
        """It runs an image as one file that was made from it."""
        return self.name in CONVERTING

    @property
    def major(self) -> str:
        """What its converted images depend on."""
        return f"{self.name}-{self.version.partition('.')[0]}"


Probe = Callable[[str], Engine | str]
"""An engine of this name, or why there is none."""


class Engines:
    """Those of this machine, in the order in which they are to be used. Several threads may ask."""

    def __init__(self, order: Sequence[str], probe: Probe | None = None) -> None:
        self._order = tuple(order)
        self._probe = probe or probe_engine
        self._lock = threading.Lock()
        self._answered = threading.Event()
        self._asking = False
        self._asked_at = 0.0
        self._answers: Mapping[str, Engine | str] = {}
        if not self._order:
            self._answered.set()

    @property
    def order(self) -> tuple[str, ...]:
        """All that may be used."""
        return self._order

    def start(self) -> None:
        """Ask in the background, unless that was done."""
        with self._lock:
            good = any(isinstance(each, Engine) for each in self._answers.values())
            old = time.monotonic() - self._asked_at > (GOOD_S if good else BAD_S)
            if self._asking or not self._order or (self._answered.is_set() and not old):
                return
            self._asking = True
        threading.Thread(target=self._ask, name="engines", daemon=True).start()

    def working(self, wait_s: float = 2 * ANSWER_S) -> list[Engine]:
        """Those that work, as far as is known after a while: an older answer is good enough at once."""
        self.start()
        self._answered.wait(wait_s)
        return [each for name in self._order if isinstance(each := self._answers.get(name), Engine)]

    def choose(self, wanted: str, wait_s: float = 2 * ANSWER_S) -> Engine | None:
        """The engine for a run; None when it is to run on the host, as is wished or for want of one.

        Raises:
            WrongState: the one that is wished for does not work.
        """
        if wanted == HOST:
            return None
        found = self.working(wait_s)
        if not wanted:
            return found[0] if found else None
        for engine in found:
            if engine.name == wanted:
                return engine
        answer = self._answers.get(wanted, "is not among those that are used here")
        raise WrongState(
            f"{wanted} cannot be used: {answer}",
            reason="no_container_engine",
            hint="take environment.engine out of project.yaml, or name another",
        )

    def _ask(self) -> None:
        answers: dict[str, Engine | str] = {}
        with ThreadPoolExecutor(len(self._order), thread_name_prefix="probe") as threads:
            answers.update(zip(self._order, threads.map(self._probe, self._order), strict=True))
        with self._lock:
            self._answers, self._asked_at, self._asking = answers, time.monotonic(), False
        self._answered.set()


def check_order(text: str, usual: Sequence[str]) -> tuple[str, ...]:
    """The order that a setting gives, with commas between; empty is the usual one, ``none`` uses no engine.

    Raises:
        InvalidInput: it names what is no engine.
    """
    if not text:
        return tuple(usual)
    names = tuple(name.strip() for name in text.split(","))
    if names == (HOST,):
        return ()
    if wrong := [name for name in names if name not in ON_A_LAPTOP]:
        why = f"{wrong[0]!r} is no engine; known are {', '.join(ON_A_LAPTOP)}, or {HOST} alone"
        raise InvalidInput(
            "a setting cannot be meant",
            reason="bad_settings",
            violations=[Violation("containers.engines", why)],
        )
    return names


def probe_engine(name: str) -> Engine | str:
    """Ask an engine whether it works."""
    program = shutil.which(name)
    if program is None:
        return "it is not installed"
    asking = {
        "docker": ["version", "--format", "{{.Server.Version}}"],
        "podman": ["info", "--format", "{{.Version.Version}}"],
    }
    try:
        answer = subprocess.run(
            [program, *asking.get(name, ["--version"])],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it does not answer within {ANSWER_S:g} s"
    except OSError as error:
        return f"it cannot be started: {error.strerror}"
    version = _VERSION.search(answer.stdout)
    if answer.returncode or version is None:
        said = plain(answer.stderr).splitlines()
        return said[-1] if said else f"it ended with {answer.returncode}"
    if name in CONVERTING and not (os.geteuid() == 0 or _may_have_namespaces() or _has_helper(program)):
        return "this user may not make user namespaces, and it has no setuid helper"
    return Engine(name, program, version.group())


def _may_have_namespaces() -> bool:
    for path in ("/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/unprivileged_userns_clone"):
        try:
            if Path(path).read_text(encoding="ascii").strip() == "0":
                return False
        except OSError:
            continue
    return True


def _has_helper(program: str) -> bool:
    root = Path(program).resolve().parents[1]
    folders = [root / "libexec", root / "lib", *root.glob("lib/*-linux-gnu")]
    tools = ("apptainer", "singularity")
    return any((folder / tool / "bin" / "starter-suid").exists() for folder in folders for tool in tools)
