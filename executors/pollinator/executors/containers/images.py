"""Images that are ready for runs: found, or made so once, and kept until nobody has used them for long."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pollinator.chunks.layout import disk_errors
from pollinator.executors.base import Tell
from pollinator.executors.containers import archives
from pollinator.executors.containers.convert import Conversion
from pollinator.executors.containers.engines import CONVERTING, Engine, Engines
from pollinator.executors.containers.kept import Kept, Record, as_image
from pollinator.executors.containers.load import Store
from pollinator.executors.containers.locks import locked
from pollinator.executors.containers.reference import (
    AS_THEY_ARE,
    IN_FILES,
    KEY,
    PASSED_ON,
    Reference,
    Source,
    parse_reference,
)
from pollinator.executors.containers.registry import Layer, open_registry
from pollinator.executors.containers.space import choose_folder, choose_scratch, image_folders, part, remove
from pollinator.v1.executor_pb2 import Image
from pollinator.wire.errors import InvalidInput, NotFound, Unavailable, Violation, WrongState


@dataclass(frozen=True, slots=True)
class Ready:
    """An image that an engine can run at once."""

    engine: str
    program: str
    image: str
    """Path of a file or folder, or the engine's own id."""
    digest: str = ""
    user: str = ""
    """Who the command has to be, for engines that must be told."""
    key: str = ""
    notice: str = ""
    """What the user should know."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What a name means now."""

    digest: str
    notice: str = ""


class ContainerImages:
    """All images of one executor."""

    def __init__(self, engines: Engines, *, folder: str = "", scratch: str = "") -> None:
        self._engines = engines
        self._given = folder
        self._scratch = scratch
        self._held: dict[str, str] = {}
        self._lock = threading.Lock()

    # For runs

    def ready(self, reference: Reference, engine: Engine, *, rebuild: bool, tell: Tell) -> Ready:
        """Make an image ready, or find that it is.

        Args:
            reference: with an absolute path, if it has one.
            engine: that is to run it.
            rebuild: make it anew.
            tell: told how many bytes are done.

        Raises:
            PollinatorError: it cannot be had.
        """
        if reference.source in (*AS_THEY_ARE, *PASSED_ON) and not engine.converts:
            raise InvalidInput(
                f"{engine.name} cannot run {reference.text}",
                reason="bad_image",
                hint="only Apptainer and Singularity can; name one as environment.engine",
                violations=[Violation(KEY, f"is nothing that {engine.name} can run")],
            )
        if reference.source in AS_THEY_ARE:
            return _as_it_is(reference, engine)
        with disk_errors(self._folders()[0]):
            if engine.converts:
                return self._converted(reference, engine, rebuild, tell)
            return self._loaded(reference, engine, rebuild, tell)

    def hold(self, run: str, key: str) -> None:
        """A run needs an image until it is released."""
        with self._lock:
            self._held[run] = key

    def release(self, run: str) -> None:
        """A run has ended."""
        with self._lock:
            self._held.pop(run, None)

    # For people

    def all(self) -> list[Image]:
        """What is there, newest use first."""
        found = [each for kept in self._all_kept() for each in kept.all()]
        there = [each for each in found if self._is_there(each[1])]
        return [as_image(record, used) for _, record, used in sorted(there, key=lambda each: -each[2])]

    def pull(self, reference: str, engine: str, *, rebuild: bool, tell: Tell) -> Image:
        """Make an image ready.

        Raises:
            PollinatorError: it cannot be had.
        """
        parsed = parse_reference(reference)
        if parsed.source in IN_FILES and not parsed.path.startswith("/"):
            raise InvalidInput(
                f"{reference} is below a project's cfs/src, and no project is meant here",
                reason="bad_image",
                hint="write an absolute path",
            )
        chosen = self._engines.choose(engine)
        if chosen is None:
            raise WrongState("there is no container engine here", reason="no_container_engine")
        ready = self.ready(parsed, chosen, rebuild=rebuild, tell=tell)
        for kept in self._all_kept():
            if (record := kept.find(ready.key)) is not None:
                return as_image(record, time.time())
        return as_image(Record(parsed.text, ready.digest, chosen.name, 0, ready.image), time.time())

    def prune(self, unused_s: int, *, dry_run: bool) -> list[Image]:
        """Remove what no run used for so long; returns what that is."""
        removed: list[Image] = []
        with self._lock:
            held = set(self._held.values())
        for kept in self._all_kept():
            for key, record, used in kept.all():
                if key in held or time.time() - used < unused_s:
                    continue
                if dry_run or self._remove(kept, key, record):
                    removed.append(as_image(record, used))
        return removed

    def _remove(self, kept: Kept, key: str, record: Record) -> bool:
        try:
            if record.engine in CONVERTING:
                # Not where the record says: who shares the folder may have written anything there.
                remove(_sif(kept.folder, key))
            elif record.ours and self._is_there(record) and not self._removed(record):
                return False
            kept.forget(key)
        except PermissionError:
            # Another user's, in a folder that they share.
            return False
        return True

    def _removed(self, record: Record) -> bool:
        store = self._store(record.engine)
        return store is not None and store.remove(record.location)

    # What names mean

    def _resolve(self, reference: Reference, is_there: Callable[[str], bool]) -> _Found:
        if reference.source in PASSED_ON:
            return _Found(f"sha256:{hashlib.sha256(reference.name.encode()).hexdigest()}")
        if reference.source is not Source.REGISTRY:
            return _Found(archives.identity(reference))
        if reference.digest:
            return _Found(reference.digest)
        names = self._kept(choose_folder(self._folders(), 0))
        try:
            digest = open_registry(reference).digest()
        except Unavailable as error:
            known = names.meant(reference.name)
            if not known or not is_there(known):
                raise
            return _Found(known, f"{error.message}; {reference.text} is taken as it was when it last did")
        if digest != names.meant(reference.name):
            names.note_meaning(reference.name, digest)
        return _Found(digest)

    def _layers(self, reference: Reference, digest: str) -> list[Layer]:
        return open_registry(reference).layers(digest) if reference.source is Source.REGISTRY else []

    # Apptainer and Singularity

    def _converted(self, reference: Reference, engine: Engine, rebuild: bool, tell: Tell) -> Ready:
        def place(digest: str) -> tuple[Path, str] | None:
            key = Conversion(engine, reference, digest, 0).key
            found = (folder for folder in self._folders() if _sif(folder, key).exists())
            return next(((folder, key) for folder in found), None)

        found = self._resolve(reference, lambda digest: place(digest) is not None)
        if not rebuild and (there := place(found.digest)) is not None:
            folder, key = there
            self._kept(folder).used(key)
        else:
            folder, key = self._convert(reference, engine, found.digest, rebuild, tell)
        return Ready(
            engine.name, engine.program, str(_sif(folder, key)), found.digest, key=key, notice=found.notice
        )

    def _convert(
        self, reference: Reference, engine: Engine, digest: str, rebuild: bool, tell: Tell
    ) -> tuple[Path, str]:
        began = time.time()
        fetched = self._size(reference, digest)
        conversion = Conversion(engine, reference, digest, fetched)
        folder, key = choose_folder(self._folders(), fetched), conversion.key
        part(folder, "sif")
        target = _sif(folder, key)
        with locked(part(folder, "locks") / f"{key}.lock", lambda: tell(0)) as touch:
            made = target.stat().st_mtime if target.exists() else 0
            if made < began and (rebuild or not made):
                scratch = choose_scratch(self._scratch, folder, fetched)

                def touching(done: int) -> None:
                    touch()
                    tell(done)

                conversion.run(target, scratch, touching)
            record = Record(reference.text, digest, engine.name, target.stat().st_size, str(target))
            self._kept(folder).note(key, record)
        return folder, key

    def _size(self, reference: Reference, digest: str) -> int:
        if reference.source in PASSED_ON:
            return 0
        if reference.source is Source.REGISTRY:
            return sum(layer.size for layer in self._layers(reference, digest))
        return archives.size(reference)

    # Docker and Podman

    def _loaded(self, reference: Reference, engine: Engine, rebuild: bool, tell: Tell) -> Ready:
        folder = choose_folder(self._folders(), 0)
        kept, store = self._kept(folder), Store(engine)

        def key_of(digest: str) -> str:
            return f"{digest.partition(':')[2]}-{engine.name}"

        def known(digest: str) -> Record | None:
            record = kept.find(key_of(digest))
            return record if record is not None and store.find(record.location) else None

        found = self._resolve(reference, lambda digest: known(digest) is not None)
        key = key_of(found.digest)
        with locked(part(folder, "locks") / f"{key}.lock", lambda: tell(0)):
            record = None if rebuild else known(found.digest)
            if record is None:
                record = self._fetch(reference, store, found.digest, engine, rebuild, tell)
                kept.note(key, record)
            kept.used(key)
        return Ready(
            engine.name,
            engine.program,
            record.location,
            found.digest,
            user=store.user(),
            key=key,
            notice=found.notice,
        )

    def _fetch(
        self, reference: Reference, store: Store, digest: str, engine: Engine, rebuild: bool, tell: Tell
    ) -> Record:
        name = reference.pinned(digest) if reference.source is Source.REGISTRY else digest
        before = store.find(name)
        if before is not None and not rebuild:
            identity = before[0]
        elif reference.source is Source.REGISTRY:
            identity = store.pull(reference, digest, self._layers(reference, digest), tell)
        else:
            identity = store.load(reference, tell)
        size = (store.find(identity) or ("", 0))[1]
        return Record(reference.text, digest, engine.name, size, identity, ours=before is None)

    # Where they are

    def _folders(self) -> list[Path]:
        return image_folders(self._given)

    def _kept(self, folder: Path) -> Kept:
        return Kept(folder)

    def _all_kept(self) -> list[Kept]:
        return [Kept(folder) for folder in self._folders()]

    def _store(self, engine: str) -> Store | None:
        return next((Store(each) for each in self._engines.working() if each.name == engine), None)

    def _is_there(self, record: Record) -> bool:
        if record.engine in CONVERTING:
            return Path(record.location).exists()
        store = self._store(record.engine)
        return store is not None and store.find(record.location) is not None


def _as_it_is(reference: Reference, engine: Engine) -> Ready:
    path = Path(reference.path)
    there = path.is_dir() if reference.source is Source.SANDBOX else path.is_file()
    if not there:
        what = "folder" if reference.source is Source.SANDBOX else "file"
        raise NotFound(
            f"the image {reference.text} is no {what} where the run is: {path}",
            reason="image_missing",
            hint="paths are absolute, or below the project's cfs/src",
        )
    return Ready(engine.name, engine.program, str(path))


def _sif(folder: Path, key: str) -> Path:
    return folder / "sif" / f"{key}.sif"
