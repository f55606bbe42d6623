"""Names of container images as users write them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from pollinator.wire.errors import InvalidInput, Violation

HUB = "docker.io"
KEY = "environment.docker"


class Source(StrEnum):
    """Where an image comes from; the value is how it is written."""

    REGISTRY = "docker"
    OCI_ARCHIVE = "oci-archive"
    DOCKER_ARCHIVE = "docker-archive"
    OCI_FOLDER = "oci"
    SIF = "sif"
    """A file that Apptainer or Singularity run as it is."""
    SANDBOX = "sandbox"
    """A folder that holds the root of a file system."""
    LIBRARY = "library"
    SHUB = "shub"
    ORAS = "oras"


IN_FILES = (Source.OCI_ARCHIVE, Source.DOCKER_ARCHIVE, Source.OCI_FOLDER, Source.SIF, Source.SANDBOX)
"""Those that are found by a path."""

AS_THEY_ARE = (Source.SIF, Source.SANDBOX)
"""Those that need no conversion."""

PASSED_ON = (Source.LIBRARY, Source.SHUB, Source.ORAS)
"""Those that only Apptainer and Singularity understand."""

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
_HOST = re.compile(r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)(?::[0-9]{1,5})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """One image."""

    text: str
    """As the user wrote it."""
    source: Source
    registry: str = ""
    """Host of the registry, with its port."""
    repository: str = ""
    tag: str = ""
    digest: str = ""
    path: str = ""
    """Of what is found by a path; relative to the project's src."""

    @property
    def name(self) -> str:
        """The same for whatever means the same image."""
        if self.source is not Source.REGISTRY:
            return f"{self.source}:{self.path}{f':{self.tag}' if self.tag else ''}"
        return f"{self.registry}/{self.repository}" + (f"@{self.digest}" if self.digest else f":{self.tag}")

    def below(self, src: Path) -> Reference:
        """The same with an absolute path, if it has one."""
        return replace(self, path=str(src / self.path)) if self.source in IN_FILES else self

    def pinned(self, digest: str) -> str:
        """Name of exactly this image in its registry."""
        return f"{self.registry}/{self.repository}@{digest}"


def parse_reference(text: str) -> Reference:
    """Understand the name of an image.

    Raises:
        InvalidInput: it cannot be meant.
    """
    if not text or any(character.isspace() or not character.isprintable() for character in text):
        raise _wrong(text, "holds spaces, or characters that cannot be printed")
    scheme, colon, rest = text.partition(":")
    known = {each.value: each for each in Source if each not in AS_THEY_ARE}
    if colon and scheme in known and (source := known[scheme]) is not Source.REGISTRY:
        rest = rest.removeprefix("//")
        return _passed_on(text, source, rest) if source in PASSED_ON else _archive(text, source, rest)
    if "://" in text and scheme != Source.REGISTRY:
        places = ", ".join(f"{each}:" for each in known)
        raise _wrong(text, f"begins with {scheme}://; known are {places} and names without any of these")
    if text.startswith("docker://"):
        return _in_registry(text, text.removeprefix("docker://"))
    if text.startswith(("/", "./")) or text.endswith((".sif", "/")):
        source = Source.SIF if text.endswith(".sif") else Source.SANDBOX
        return Reference(text, source, path=_path(text, text))
    return _in_registry(text, text)


def _in_registry(text: str, name: str) -> Reference:
    name, _, digest = name.partition("@")
    if "@" in text and not _DIGEST.fullmatch(digest):
        raise _wrong(text, "has no digest behind the @: write sha256: and 64 hexadecimal digits")
    first, slash, rest = name.partition("/")
    registry = HUB
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, name = first, rest
    if not _HOST.fullmatch(registry):
        raise _wrong(text, f"{registry!r} is not the name of a registry")
    repository, colon, tag = name.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _wrong(text, f"{tag!r} is not a tag")
    if not _REPOSITORY.fullmatch(repository):
        why = "names of images are in lower case" if repository.lower() != repository else "is not a name"
        raise _wrong(text, f"{repository!r}: {why}; write for example python:3.12 or ghcr.io/group/name:tag")
    if registry in (HUB, "index.docker.io", "registry-1.docker.io"):
        registry = HUB
        repository = repository if "/" in repository else f"library/{repository}"
    return Reference(text, Source.REGISTRY, registry, repository, tag if digest else tag or "latest", digest)


def _archive(text: str, source: Source, rest: str) -> Reference:
    path, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        path, tag = rest, ""
    if colon and tag and not _TAG.fullmatch(tag):
        raise _wrong(text, f"{tag!r} is not a tag")
    return Reference(text, source, path=_path(text, path), tag=tag)


def _passed_on(text: str, source: Source, rest: str) -> Reference:
    if not rest:
        raise _wrong(text, "names nothing")
    return Reference(text, source, path=f"//{rest}")


def _path(text: str, path: str) -> str:
    if not path or (".." in path.split("/") and not path.startswith("/")):
        raise _wrong(text, "needs a path that is absolute, or below the project's cfs/src")
    return path


def _wrong(text: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"{text!r} is not the name of an image",
        reason="bad_image",
        violations=[Violation(KEY, f"{text!r} {why}")],
    )
