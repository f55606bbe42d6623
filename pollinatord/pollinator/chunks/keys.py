"""Names of objects in a store. In a folder store a key becomes a path, so nothing but a key may pass."""

from __future__ import annotations

import re

from pollinator.wire.errors import InvalidInput, Violation

PACK = "p"
"""A pack of chunks."""

SNAPSHOT = "s"
"""A pack that publishes a snapshot."""

INDEX = "i"
"""A list of what many packs hold."""

MOVES = "m"
"""Where chunks are that were copied out of packs which are to be removed."""

REF = "r"
"""What one client keeps."""

LEASE = "l"
"""What one run needs until its client keeps it."""

CONDEMNED = "g"
"""What one collection means to remove."""

TALK = "t"
"""What a run and its executor tell each other where they share nothing but the store: pages."""

_KEY = re.compile(
    r"[psim]/([0-9a-f]{2})/\1[0-9a-f]{62}"  # named by content, never changed
    r"|[rg]/[0-9a-f]{32}|l/[0-9A-Za-z]{1,64}"  # replaced as a whole by their only writer
    r"|t/[0-9A-Za-z]{1,64}/[0-9a-z-]{1,64}/[0-9]{10}"  # numbered by their only writer, never changed
)
_LEASE_OF_PART = re.compile(r"(?P<run>.+)N[0-9]+")
_PROJECT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_MEANT = "letters, digits, '.', '_' and '-', at most 128 of them, no '.' at the start"


def is_snapshot(key: str) -> bool:
    """It names a pack that publishes a snapshot."""
    return key.startswith(f"{SNAPSHOT}/")


def pack_key(kind: str, name: bytes) -> str:
    """Key of the object of this kind whose footer has the digest ``name``."""
    text = name.hex()
    return f"{kind}/{text[:2]}/{text}"


def object_prefix(prefix: str, place: str) -> str:
    """How the names of all objects of a namespace begin in a bucket, below the prefix that is set for it."""
    return "/".join(part for part in (prefix.strip("/"), place) if part) + "/"


def client_key(kind: str, client: str) -> str:
    """Key of what this client says: its ``REF``, its ``CONDEMNED`` list, or the ``LEASE`` of a run."""
    return check_key(f"{kind}/{client}")


def lease_of_part(run_id: str, part: int) -> str:
    """Whose lease it is that one part of a run writes by itself; ids of runs are in lower case."""
    return f"{run_id}N{part}"


def run_of(key: str) -> str:
    """The run that a lease is of, one of its parts included, or a page."""
    name = key.split("/")[1]
    part = _LEASE_OF_PART.fullmatch(name)
    return part["run"] if part else name


def page_prefix(run_id: str, writer: str = "") -> str:
    """How the keys of all pages of a run begin, or of those of one writer."""
    return f"{TALK}/{run_id}/{writer}/" if writer else f"{TALK}/{run_id}/"


def page_key(run_id: str, writer: str, number: int) -> str:
    """Key of a page.

    Args:
        run_id: of the run.
        writer: who writes it, and nobody else.
        number: which of its pages, from 1.
    """
    return check_key(f"{page_prefix(run_id, writer)}{number:010d}")


def check_key(key: str) -> str:
    """``key`` if it is one.

    Raises:
        InvalidInput: it is not.
    """
    if not _KEY.fullmatch(key):
        raise InvalidInput(
            f"{key!r} is not the key of an object",
            reason="bad_key",
            violations=[Violation("key", "a key is like p/ab/abcd..., with 64 hexadecimal digits")],
        )
    return key


def namespace(project: str) -> str:
    """Where the objects of a project are in every store.

    Raises:
        InvalidInput: this cannot be the name of a project.
    """
    if not _PROJECT.fullmatch(project):
        raise InvalidInput(
            f"{project!r} cannot be the name of a project in a store",
            reason="bad_project",
            violations=[Violation("project", f"write {_MEANT}")],
        )
    return f"pollinator/{project}"
