"""Images: all of them are this machine's file system, and some names play what goes wrong with a registry.

- ``NAME.invalid/…``: there is no such registry, on a real cluster either.
- ``…/missing…``: the registry has none of that name; ``…/private…``: it wants to know who asks.
- ``…/slow…``: it takes until somebody says that it is there; ``…/busy…``: too many have asked.
- ``…/rootless…``: its user is not root; ``…/shellless…``: it has no ``/bin/sh``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:(?:[._-]|__)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._-]|__)[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)


@dataclass(frozen=True)
class PullError:
    """An image cannot be had."""

    code: str
    """Where the runtime has one for it."""
    message: str


def whole(image: str) -> str:
    """The whole name of an image, as a runtime writes it."""
    name, at, digest = image.partition("@")
    first = name.partition("/")[0]
    if "/" not in name:
        name = f"docker.io/library/{name}"
    elif not ("." in first or ":" in first or first == "localhost"):
        name = f"docker.io/{name}"
    if not digest and ":" not in name.rpartition("/")[2]:
        name += ":latest"
    return name + at + digest


def valid(image: str) -> bool:
    """It is the name of an image."""
    return _NAME.fullmatch(image) is not None


def is_slow(image: str) -> bool:
    """It takes until somebody says that it is there."""
    return "/slow" in whole(image)


def pulled(image: str) -> PullError | None:
    """What goes wrong when it is asked for, if anything."""
    name = whole(image)
    registry = name.partition("/")[0]
    manifest = f"https://{registry}/v2/{name.partition('/')[2].replace(':', '/manifests/')}"
    cannot = f'failed to pull and unpack image "{name}": failed to resolve image'
    if registry.partition(":")[0].endswith(".invalid"):
        host = registry.partition(":")[0]
        why = f'failed to do request: Head "{manifest}": dial tcp: lookup {host}: no such host'
        return PullError("", f"{cannot}: {why}")
    if "/missing" in name:
        return PullError("NotFound", f"{cannot}: {name}: not found")
    if "/private" in name:
        why = "pull access denied, repository does not exist or may require authorization"
        return PullError("", f"{cannot}: {why}: authorization failed: no basic auth credentials")
    if "/busy" in name:
        why = f"unexpected status from HEAD request to {manifest}: 429 Too Many Requests"
        return PullError("", f"{cannot}: {why}")
    return None


def said(error: PullError) -> str:
    """As the runtime tells it."""
    return f"rpc error: code = {error.code} desc = {error.message}" if error.code else error.message
