"""Where there is room for images, and for making them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pollinator.executors.trees import remove_tree
from pollinator.wire.errors import Exhausted
from pollinator.wire.places import cache_dir

SCRATCH = ("SCRATCH", "PSCRATCH", "WORK", "WORKDIR")
"""Variables by which sites tell their users where there is room."""

KEPT_PARTS = 1.2
UNPACKED_PARTS = 5.0
"""What an image takes where it is kept, and where it is unpacked and packed again, for each byte fetched."""

SPARE_BYTES = 64 << 20


def image_folders(given: str, environ: Mapping[str, str] = os.environ) -> list[Path]:
    """Folders in which images may be, the best first: the one that a setting names, or those there are."""
    if given:
        return [Path(given)]
    named = [Path(environ[name]) for name in SCRATCH if environ.get(name)]
    scratch = [path / "pollinator" / "images" for path in named if path.is_absolute() and path.is_dir()]
    return [*scratch, cache_dir() / "images"]


def choose_folder(folders: list[Path], fetched: int) -> Path:
    """The first with room for an image of which so many bytes are fetched.

    Raises:
        Exhausted: there is none.
    """
    return _roomy(iter(folders), round(fetched * KEPT_PARTS), "images.dir")


def choose_scratch(given: str, beside: Path, fetched: int, environ: Mapping[str, str] = os.environ) -> Path:
    """The first folder for temporary files with room for making an image.

    Raises:
        Exhausted: there is none.
    """
    usual = [Path(environ["TMPDIR"])] if environ.get("TMPDIR") else []
    places = [Path(given)] if given else [*usual, Path(tempfile.gettempdir()), Path("/var/tmp"), beside]  # noqa: S108 - a private folder is made there
    return _roomy(iter(places), round(fetched * UNPACKED_PARTS), "images.tmp")


def part(folder: Path, name: str) -> Path:
    """A folder in one that several users may share: all who may write to that may write to its parts."""
    path = folder / name
    if not path.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        making = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=folder))
        making.chmod(stat.S_IMODE(folder.stat().st_mode))
        try:
            making.rename(path)
        except OSError:
            # Somebody else was quicker, and has put something there.
            making.rmdir()
    return path


def _roomy(folders: Iterator[Path], need: int, setting: str) -> Path:
    seen: list[str] = []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
        except OSError as error:
            seen.append(f"{folder} ({error.strerror})")
            continue
        if free >= need + SPARE_BYTES and os.access(folder, os.W_OK | os.X_OK):
            return folder
        seen.append(f"{folder} ({free / 2**30:.1f} GiB free)")
    raise Exhausted(
        f"no room for the image, which needs {(need + SPARE_BYTES) / 2**30:.1f} GiB: {', '.join(seen)}",
        reason="disk_full",
        hint=f"set {setting} to a folder with more room, or remove images: pollinator images prune",
    )


def remove(path: Path) -> None:
    """Remove a file or folder, as far as it is there."""
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)
