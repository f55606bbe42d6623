"""Docker and Podman: images are kept by the engine itself, and pulled or loaded into it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from typing import IO, Any

from pollinator.executors.base import Tell
from pollinator.executors.containers import archives
from pollinator.executors.containers.engines import Engine
from pollinator.executors.containers.reference import Reference, Source
from pollinator.executors.containers.registry import Layer, is_loopback
from pollinator.executors.containers.tool import failure, run_tool
from pollinator.wire.errors import WrongState

ANSWER_S = 60.0
_LOADED = re.compile(r"^Loaded image(?: ID|\(s\))?: *(\S+)", re.MULTILINE)
_PULLED = re.compile(r"^([0-9a-f]{12}): (?:Download complete|Pull complete|Already exists)", re.MULTILINE)


class Store:
    """What one engine keeps."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, name: str) -> tuple[str, int] | None:
        """Id and size of an image that is there, by any of its names."""
        answer = self._ask("image", "inspect", name)
        if answer.returncode:
            return None
        (found,) = json.loads(answer.stdout)[:1]
        known: dict[str, Any] = found
        identity = str(known["Id"])
        return (identity if ":" in identity else f"sha256:{identity}"), int(known.get("Size", 0))

    def pull(self, reference: Reference, digest: str, layers: list[Layer], tell: Tell) -> str:
        """Fetch exactly one image; its id.

        Raises:
            PollinatorError: it failed.
        """
        sizes = {each.digest.partition(":")[2][:12]: each.size for each in layers}

        def done(said: str) -> int:
            return sum(sizes.get(layer, 0) for layer in set(_PULLED.findall(said)))

        plain = self._engine.name == "podman" and is_loopback(reference.registry)
        options = ["--tls-verify=false"] if plain else []
        name = reference.pinned(digest)
        run_tool([self._engine.program, "pull", *options, name], f"pulling {reference.text}", tell, done=done)
        return self._there(name)

    def load(self, reference: Reference, tell: Tell) -> str:
        """Take an image out of an archive; its id.

        Raises:
            PollinatorError: it failed.
        """
        with tempfile.TemporaryFile() as content:
            if reference.source is not Source.DOCKER_ARCHIVE:
                archives.write_docker_archive(reference, content)
                content.seek(0)
                return self._load(reference, content, tell)
        with open(reference.path, "rb") as archive:
            return self._load(reference, archive, tell)

    def user(self) -> str:
        """Whom a command has to be in a container so that its files are ours outside of it."""
        if (
            self._engine.name == "docker"
            and "rootless" in self._ask("info", "--format", "{{.SecurityOptions}}").stdout
        ):
            # Root in there is us.
            return "0:0"
        return f"{os.geteuid()}:{os.getegid()}"

    def _load(self, reference: Reference, archive: IO[bytes], tell: Tell) -> str:
        def done(_: str) -> int:
            # The engine reads it through the same open file.
            return os.lseek(archive.fileno(), 0, os.SEEK_CUR)

        said = run_tool(
            [self._engine.program, "load"], f"loading {reference.text}", tell, done=done, stdin=archive
        )
        found = _LOADED.findall(said)
        if not found:
            raise WrongState(
                f"{self._engine.name} loaded no image from {reference.text}", reason="image_failed"
            )
        return self._there(found[0])

    def remove(self, identity: str) -> bool:
        """Remove an image; False when something uses it."""
        return not self._ask("image", "rm", identity).returncode

    def _there(self, name: str) -> str:
        found = self.find(name)
        if found is None:
            raise WrongState(f"{self._engine.name} has no {name} after fetching it", reason="image_failed")
        return found[0]

    def _ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [self._engine.program, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=ANSWER_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise failure(f"asking {self._engine.name}", 1, f"no answer within {ANSWER_S:g} s") from error
