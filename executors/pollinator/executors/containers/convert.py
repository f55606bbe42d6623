"""Apptainer and Singularity: an image becomes one file, once, which every later run starts from."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pollinator.executors.base import Tell
from pollinator.executors.containers.credentials import find_login
from pollinator.executors.containers.engines import Engine
from pollinator.executors.containers.reference import PASSED_ON, Reference, Source
from pollinator.executors.containers.registry import is_loopback
from pollinator.executors.containers.space import remove
from pollinator.executors.containers.tool import file_bytes, plain, run_tool
from pollinator.wire.errors import PollinatorError, WrongState
from pollinator.wire.faults import crash_point

QUICK = ("--mksquashfs-args", "-comp zstd -Xcompression-level 1")
"""A third of the time of what the tool does by itself, and no larger."""

TRY_S = 60.0


@dataclass(frozen=True, slots=True)
class Conversion:
    """One image for one engine."""

    engine: Engine
    reference: Reference
    digest: str
    fetched: int
    """How many bytes there are to fetch or read."""

    @property
    def key(self) -> str:
        """Names the converted image: another engine or machine may not be able to run it."""
        return f"{self.digest.partition(':')[2]}-{platform.machine()}-{self.engine.major}"

    def run(self, target: Path, scratch: Path, tell: Tell) -> None:
        """Convert. Whoever calls holds the lock for the target.

        Args:
            target: where it is to be; only ever a whole image is there.
            scratch: a folder for temporary files.
            tell: told how many bytes were written so far.

        Raises:
            PollinatorError: it failed.
        """
        self._sweep(target, scratch)
        mine = f"{socket.gethostname()}.{os.getpid()}"
        partial, own = target.with_name(f".{self.key}.{mine}.partial"), scratch / f"{_scratch(target)}.{mine}"
        try:
            own.mkdir(mode=0o700)
            self._build(partial, own, tell)
            crash_point("before_image")
            partial.replace(target)
        finally:
            remove(own)
            remove(partial)

    def _sweep(self, target: Path, scratch: Path) -> None:
        """Remove what one that was killed has left: nobody else makes this image now."""
        for left in (*target.parent.glob(f".{self.key}.*"), *scratch.glob(f"{_scratch(target)}.*")):
            remove(left)

    def _build(self, partial: Path, own: Path, tell: Tell) -> None:
        def done(_: str) -> int:
            return max(file_bytes(own), partial.stat().st_size if partial.exists() else 0)

        quick = _takes(self.engine, QUICK[0])
        while True:
            command = [self.engine.program, "build", *(QUICK if quick else ()), *self._options()]
            command += [str(partial), self._source()]
            try:
                run_tool(command, f"making {self.reference.text} ready", tell, done=done, env=self._env(own))
                self._try(partial, own)
            except PollinatorError as error:
                # Not every tool can compress so, and not every kernel read it.
                if not quick or error.reason != "image_failed":
                    raise
                quick = False
                remove(partial)
            else:
                partial.chmod(0o644)
                return

    def _options(self) -> list[str]:
        plain = self.reference.source is Source.REGISTRY and is_loopback(self.reference.registry)
        return ["--no-https"] if plain else []

    def _source(self) -> str:
        reference = self.reference
        if reference.source is Source.REGISTRY:
            return f"docker://{reference.pinned(self.digest)}"
        if reference.source in PASSED_ON:
            return f"{reference.source}:{reference.path}"
        return f"{reference.source}://{reference.path}" + (f":{reference.tag}" if reference.tag else "")

    def _env(self, own: Path) -> dict[str, str]:
        """Temporary files and layers go where there is room, and are gone afterwards."""
        env = dict(os.environ)
        prefix = self.engine.name.upper()
        for name, value in (("TMPDIR", own), ("CACHEDIR", own / "cache")):
            env[f"{prefix}_{name}"] = str(value)
        env["TMPDIR"] = str(own)
        if self.reference.source is Source.REGISTRY:
            login = find_login(self.reference.registry, self.reference.repository)
            if login is not None and login.user:
                env[f"{prefix}_DOCKER_USERNAME"] = login.user
                env[f"{prefix}_DOCKER_PASSWORD"] = login.password
        return env

    def _try(self, image: Path, own: Path) -> None:
        """Whether this machine can run it at all, which an image with no shell cannot show."""
        command = [self.engine.program, "exec", "--contain", "--cleanenv", "--no-home", str(image)]
        try:
            done = subprocess.run(
                [*command, "/bin/sh", "-c", ":"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=self._env(own),
                cwd="/",
                timeout=TRY_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise WrongState(
                f"{self.reference.text} does not begin to run within {TRY_S:g} s", reason="image_failed"
            ) from error
        if done.returncode:
            said = plain(done.stderr.decode("utf-8", "replace")).splitlines()
            raise WrongState(
                f"{self.reference.text} cannot be run by {self.engine.name}: "
                f"{said[-1] if said else 'it says nothing'}",
                reason="image_failed",
                hint="an image needs /bin/sh",
            )


def _scratch(target: Path) -> str:
    """How folders are named in which an image is made: others make the same one for folders of their own."""
    return f"pollinator-{hashlib.blake2b(os.fsencode(target), digest_size=8).hexdigest()}"


def _takes(engine: Engine, option: str) -> bool:
    try:
        shown = subprocess.run(
            [engine.program, "build", "--help"], capture_output=True, timeout=TRY_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return option.encode() in shown.stdout
