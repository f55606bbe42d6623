"""What is remembered of images: what names meant, which are ready, and when each was used last."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from pollinator.executors.containers.space import part
from pollinator.v1.executor_pb2 import Image


@dataclass(frozen=True, slots=True)
class Record:
    """One image that is ready."""

    reference: str
    """As a user wrote it first."""
    digest: str
    engine: str
    bytes: int
    location: str
    """Path of a file, or the engine's own id."""
    ours: bool = True
    """It was not there before."""


class Kept:
    """A folder with a small file for each image and for each name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def all(self) -> list[tuple[str, Record, float]]:
        """Key, record, and when it was used last, newest first."""
        found: list[tuple[str, Record, float]] = []
        for path in self.folder.glob("images/*.json"):
            with contextlib.suppress(OSError, ValueError, TypeError):
                record = Record(**json.loads(path.read_text(encoding="utf-8")))
                found.append((path.stem, record, path.stat().st_mtime))
        return sorted(found, key=lambda each: -each[2])

    def find(self, key: str) -> Record | None:
        """The record of an image."""
        return next((record for name, record, _ in self.all() if name == key), None)

    def note(self, key: str, record: Record) -> None:
        """An image is ready, and used now."""
        _write(part(self.folder, "images") / f"{key}.json", asdict(record))

    def used(self, key: str) -> None:
        """It is used now."""
        with contextlib.suppress(OSError):
            os.utime(self.folder / "images" / f"{key}.json")

    def forget(self, key: str) -> None:
        """It is not there any more."""
        (self.folder / "images" / f"{key}.json").unlink(missing_ok=True)

    def meant(self, name: str) -> str:
        """The digest that a name had when it was last asked for; empty when nobody has asked."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            return str(json.loads(self._name(name).read_text(encoding="utf-8"))["digest"])
        return ""

    def note_meaning(self, name: str, digest: str) -> None:
        """A name means this digest now."""
        part(self.folder, "names")
        _write(self._name(name), {"name": name, "digest": digest, "time": time.time()})

    def _name(self, name: str) -> Path:
        return self.folder / "names" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def as_image(record: Record, used: float) -> Image:
    """How clients see it."""
    image = Image(
        reference=record.reference,
        digest=record.digest,
        engine=record.engine,
        bytes=record.bytes,
        location=record.location,
    )
    image.use_time.FromNanoseconds(round(used * 1e9))
    return image


def _write(path: Path, value: dict[str, object]) -> None:
    """Atomically, for whoever else may look."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    temporary.write_text(json.dumps(value), encoding="utf-8")
    # Whoever may write to the folder says by touching it that the image was used, and nobody else.
    temporary.chmod(stat.S_IMODE(path.parent.stat().st_mode) & 0o666)
    try:
        temporary.replace(path)
    except PermissionError:
        # Another user's file says the same, where only its owner may replace it.
        temporary.unlink()
