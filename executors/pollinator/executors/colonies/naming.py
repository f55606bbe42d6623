"""Names of files in a colony: a label and a name there, a path here. No name can lead out of its folder."""

from __future__ import annotations

from typing import NamedTuple

from pollinator.wire.errors import InvalidInput

MARKER = ".cfs"
"""A file that the original program leaves in every folder which it syncs, and never sends."""

_NO_NAMES = frozenset({"", ".", ".."})


class Spot(NamedTuple):
    """Where a file is in a colony."""

    label: str
    name: str


def check_label(label: str) -> str:
    """A label that files may be put below.

    Raises:
        InvalidInput: it is none.
    """
    if not label.startswith("/") or path_of("", Spot(label, "file")) is None:
        raise InvalidInput(f"{label!r} is no label: write /name/name", reason="bad_label")
    return label


def spot_of(root: str, path: str) -> Spot:
    """The place of a path below a label.

    Raises:
        InvalidInput: this is no path below a folder.
    """
    folder, _, name = path.rpartition("/")
    spot = Spot(f"{root}/{folder}" if folder else root, name)
    if path_of(root, spot) != path:
        raise InvalidInput(f"{path!r} cannot be the path of a file in a colony", reason="bad_path")
    return spot


def path_of(root: str, spot: Spot) -> str | None:
    """The path below a folder that belongs to a place at or below a label; None where that cannot be one."""
    if spot.label == root:
        folders: list[str] = []
    elif spot.label.startswith(f"{root}/"):
        folders = spot.label[len(root) + 1 :].split("/")
    else:
        return None
    whole = "/".join([*folders, spot.name])
    if "/" in spot.name or "\0" in whole or not _NO_NAMES.isdisjoint([*folders, spot.name]):
        return None
    try:
        whole.encode()
    except UnicodeEncodeError:
        # Half of a character, which JSON can hold and no file system of ours.
        return None
    return whole


def is_marker(spot: Spot) -> bool:
    """It is not a file of anybody."""
    return spot.name == MARKER
