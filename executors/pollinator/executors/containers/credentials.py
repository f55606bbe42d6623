"""Users and passwords of registries, from the files in which Docker and Podman keep them."""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pollinator.executors.containers.reference import HUB
from pollinator.wire.errors import NeedsLogin

HELPER_S = 20.0
_TOKEN = "<token>"  # noqa: S105 - what helpers say instead of a user's name
_HUB = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io", HUB)


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks."""

    user: str = ""
    password: str = ""
    token: str = ""
    """Given instead of both: a token that others are had for."""

    def __repr__(self) -> str:
        return f"Login({self.user!r})"


def find_login(registry: str, repository: str, environ: Mapping[str, str] = os.environ) -> Login | None:
    """What is known for a registry; the closest entry to the repository wins.

    Raises:
        NeedsLogin: what keeps the password does not answer.
    """
    for path in _files(environ):
        try:
            settings: Any = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if (login := _in(_table(settings), registry, repository, environ)) is not None:
            return login
    return None


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    """Those that exist or not, the most particular first."""
    if given := environ.get("REGISTRY_AUTH_FILE"):
        yield Path(given)
    home = Path(environ.get("HOME") or "/nonexistent")
    yield Path(environ["DOCKER_CONFIG"] if environ.get("DOCKER_CONFIG") else home / ".docker", "config.json")
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Path(runtime, "containers", "auth.json")
    yield Path(environ.get("XDG_CONFIG_HOME") or home / ".config", "containers", "auth.json")


def _in(settings: dict[str, Any], registry: str, repository: str, environ: Mapping[str, str]) -> Login | None:
    names = _names(registry, repository)
    helpers = _table(settings.get("credHelpers"))
    for name in names:
        if name in helpers and (login := _from_helper(helpers[name], name, environ)) is not None:
            return login
    entries = {_bare(name): entry for name, entry in _table(settings.get("auths")).items()}
    for name in names:
        if (login := _from_entry(_table(entries.get(_bare(name))))) is not None:
            return login
    store = settings.get("credsStore")
    asked = _HUB[:1] if registry == HUB else (registry,)
    return _from_helper(store, asked[0], environ) if store else None


def _names(registry: str, repository: str) -> list[str]:
    """Entries that hold for a repository, the closest first: Podman has some for a part of a registry."""
    parts = repository.split("/")
    hosts = _HUB if registry == HUB else (registry,)
    closer = [f"{host}/{'/'.join(parts[:end])}" for end in range(len(parts), 0, -1) for host in hosts]
    return [*closer, *hosts]


def _bare(name: str) -> str:
    """Old entries of Docker are URLs."""
    name = name.partition("://")[2] or name
    return name.removesuffix("/").removesuffix("/v1").removesuffix("/v2")


def _table(value: Any) -> dict[str, Any]:
    """A JSON object, empty where there is something else: the files are written by other programs."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _from_entry(known: dict[str, Any]) -> Login | None:
    if token := known.get("identitytoken"):
        return Login(token=str(token))
    try:
        user, _, password = base64.b64decode(str(known.get("auth", ""))).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    user, password = user or str(known.get("username", "")), password or str(known.get("password", ""))
    return Login(user, password.rstrip("\0")) if user else None


def _from_helper(helper: str, name: str, environ: Mapping[str, str]) -> Login | None:
    """Ask the program that keeps the passwords; None when it has none for this name."""
    program = f"docker-credential-{helper}"
    try:
        answer = subprocess.run(
            [program, "get"],
            input=name,
            env=dict(environ),
            capture_output=True,
            text=True,
            timeout=HELPER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NeedsLogin(
            f"{program}, which keeps the password for {name}, cannot be asked: {type(error).__name__}",
            reason="image_denied",
            hint=f"log in again: docker login {name}",
        ) from error
    if answer.returncode:
        return None
    try:
        said: dict[str, str] = json.loads(answer.stdout)
        user, secret = said["Username"], said["Secret"]
    except (ValueError, KeyError):
        return None
    return Login(token=secret) if user == _TOKEN else Login(user, secret)
