"""Images in files: archives as ``docker save`` and ``skopeo`` write them, and folders in the OCI layout."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import IO, Any

from pollinator.executors.containers.reference import KEY, Reference, Source
from pollinator.wire.errors import InvalidInput, Violation

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = "org.opencontainers.image.ref.name"
_MOST_BYTES = 8 << 20


def identity(reference: Reference) -> str:
    """The digest that names the image in an archive, whatever else is in it.

    Raises:
        InvalidInput: there is no such archive, or no such image in it.
    """
    with _opened(reference) as files:
        if reference.source is Source.DOCKER_ARCHIVE:
            config = files.read(str(_docker_entry(reference, files)["Config"]))
            return f"sha256:{hashlib.sha256(config).hexdigest()}"
        return str(_manifest(reference, files)["digest"])


def size(reference: Reference) -> int:
    """How many bytes an image takes in its files."""
    path = Path(reference.path)
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


def write_docker_archive(reference: Reference, out: IO[bytes]) -> None:
    """Write an image that is in the OCI layout as ``docker save`` would: not every Docker reads the other.

    Raises:
        InvalidInput: it is not an image.
    """
    with _opened(reference) as files, tarfile.open(fileobj=out, mode="w|") as archive:
        manifest = _json(reference, files.read(_blob(_manifest(reference, files)["digest"])))
        try:
            config = str(manifest["config"]["digest"])
            layers = [str(each["digest"]) for each in manifest["layers"]]
        except (KeyError, TypeError) as error:
            raise _wrong(reference, "is not an image") from error
        name = f"{config.partition(':')[2]}.json"
        _add(archive, name, files.read(_blob(config)))
        names = [f"{at}-{digest.partition(':')[2]}/layer.tar" for at, digest in enumerate(layers)]
        for member, digest in zip(names, layers, strict=True):
            with files.open(_blob(digest)) as (content, length):
                about = tarfile.TarInfo(member)
                about.size = length
                archive.addfile(about, content)
        entry = [{"Config": name, "RepoTags": None, "Layers": names}]
        _add(archive, "manifest.json", json.dumps(entry).encode())


class _Files:
    """The files of an archive, or of a folder."""

    def __init__(self, reference: Reference, archive: tarfile.TarFile | None) -> None:
        self._reference = reference
        self._archive = archive

    @contextlib.contextmanager
    def open(self, name: str) -> Generator[tuple[IO[bytes], int]]:
        """A file and its length."""
        try:
            if self._archive is None:
                path = Path(self._reference.path, name)
                with path.open("rb") as content:
                    yield content, path.stat().st_size
                return
            member = self._archive.getmember(name)
            found = self._archive.extractfile(member)
        except (KeyError, OSError, tarfile.TarError) as error:
            raise _wrong(self._reference, f"holds no {name}") from error
        if found is None:
            raise _wrong(self._reference, f"holds no file {name}")
        with found:
            yield found, member.size

    def read(self, name: str) -> bytes:
        """A small file."""
        with self.open(name) as (content, _):
            return content.read(_MOST_BYTES)


@contextlib.contextmanager
def _opened(reference: Reference) -> Generator[_Files]:
    path = Path(reference.path)
    if reference.source is Source.OCI_FOLDER:
        if not path.is_dir():
            raise _wrong(reference, "is not a folder")
        yield _Files(reference, None)
        return
    with contextlib.ExitStack() as stack:
        try:
            archive = stack.enter_context(tarfile.open(path))
        except (OSError, tarfile.TarError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else "is not an archive"
            raise _wrong(reference, f"cannot be read: {why}") from error
        yield _Files(reference, archive)


def _manifest(reference: Reference, files: _Files) -> dict[str, Any]:
    """The entry of the image in the index."""
    index = _json(reference, files.read("index.json"))
    entries: list[dict[str, Any]] = list(index.get("manifests") or ())
    if reference.tag:
        entries = [each for each in entries if reference.tag in (_name(each), _name(each).rpartition(":")[2])]
    if len(entries) != 1 or not _DIGEST.fullmatch(str(entries[0].get("digest"))):
        raise _which(reference, [_name(each) or "?" for each in entries])
    return entries[0]


def _name(entry: dict[str, Any]) -> str:
    annotations: dict[str, str] = entry.get("annotations") or {}
    return annotations.get(_NAME, "")


def _docker_entry(reference: Reference, files: _Files) -> dict[str, Any]:
    entries: list[dict[str, Any]] = _json(reference, files.read("manifest.json"))
    if reference.tag:
        wanted = f":{reference.tag}"
        entries = [each for each in entries if any(n.endswith(wanted) for n in each.get("RepoTags") or ())]
    if len(entries) != 1 or "Config" not in entries[0]:
        raise _which(reference, [name for each in entries for name in each.get("RepoTags") or ("?",)])
    return entries[0]


def _which(reference: Reference, names: Iterable[str]) -> InvalidInput:
    found = ", ".join(names)
    if not found:
        return _wrong(reference, f"holds no image {reference.tag}".rstrip())
    return _wrong(reference, f"holds several images ({found}): write the tag of one behind the path")


def _blob(digest: object) -> str:
    return f"blobs/{str(digest).replace(':', '/')}"


def _json(reference: Reference, content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise _wrong(reference, "is damaged") from error


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(content)
    archive.addfile(about, io.BytesIO(content))


def _wrong(reference: Reference, why: str) -> InvalidInput:
    return InvalidInput(
        f"{reference.text} {why}",
        reason="bad_image",
        hint="paths are absolute, or below the project's cfs/src",
        violations=[Violation(KEY, f"{reference.path} {why}")],
    )
