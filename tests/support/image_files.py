"""A small image, made of Debian's packages in seconds: no registry, no engine, nothing but files.

It has busybox and Python. Kept between test runs below ``.cache``.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from support.components import missing

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".cache" / "image"
PYTHON = ("python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib")
LIBRARIES = ("zlib1g", "libexpat1", "libssl3", "libffi8", "libbz2-1.0", "liblzma5", "libcrypt1", "libuuid1")
PACKAGES = ("busybox-static", "base-files", "base-passwd", "libc6", *PYTHON, *LIBRARIES)
RELEASE = "Pollinator's own test image"
"""What it says about itself, as no machine that runs tests does."""

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_OCI = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"


@dataclass(frozen=True)
class Blob:
    """Bytes named by their digest."""

    content: bytes
    kind: str = ""

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.content).hexdigest()}"

    @property
    def entry(self) -> dict[str, Any]:
        """How others refer to it."""
        return {"mediaType": self.kind, "digest": self.digest, "size": len(self.content)}


@dataclass(frozen=True)
class Image:
    """One image in memory: its manifest, configuration and only layer."""

    manifest: Blob
    config: Blob
    layer: Blob

    def archive(self, path: Path, *names: str) -> Path:
        """Write it as an OCI archive, under several names if there are any."""
        entries = [
            self.manifest.entry | {"annotations": {"org.opencontainers.image.ref.name": name}}
            for name in names
        ]
        index = {"schemaVersion": 2, "manifests": entries or [self.manifest.entry]}
        with tarfile.open(path, "w") as archive:
            _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
            _add(archive, "index.json", json.dumps(index).encode())
            for folder in ("blobs", "blobs/sha256"):
                about = tarfile.TarInfo(folder)
                about.type, about.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(about)
            for blob in (self.manifest, self.config, self.layer):
                _add(archive, f"blobs/{blob.digest.replace(':', '/')}", blob.content)
        return path

    def docker_archive(self, path: Path, *names: str) -> Path:
        """Write it as ``docker save`` does."""
        config, layer = f"{self.config.digest[7:]}.json", f"{self.layer.digest[7:]}/layer.tar"
        with tarfile.open(path, "w") as archive:
            _add(archive, config, self.config.content)
            _add(archive, layer, gzip.decompress(self.layer.content))
            entry = [{"Config": config, "RepoTags": list(names) or None, "Layers": [layer]}]
            _add(archive, "manifest.json", json.dumps(entry).encode())
        return path


def image_of(layer: bytes, **config: Any) -> Image:
    """An image with these files."""
    packed = Blob(gzip.compress(layer, compresslevel=1, mtime=0), _LAYER)
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    about = {
        "architecture": _MACHINES.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Env": [path], "Cmd": ["/bin/sh"], **config},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    described = Blob(json.dumps(about).encode(), _CONFIG)
    manifest = {"schemaVersion": 2, "mediaType": _OCI, "config": described.entry, "layers": [packed.entry]}
    return Image(Blob(json.dumps(manifest).encode(), _OCI), described, packed)


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """A layer with these files."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in files.items():
            _add(archive, name, content)
    return written.getvalue()


@cache
def small_image() -> Image:
    """The image, with busybox and Python. Skips the test where it cannot be made."""
    KEPT.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256("".join((*PACKAGES, RELEASE)).encode()).hexdigest()[:12]
    kept = KEPT / f"{name}.tar"
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            try:
                _make(kept)
            except (OSError, subprocess.SubprocessError) as error:
                missing(f"no image could be made of Debian's packages: {error}", "containers")
    return image_of(kept.read_bytes())


def _make(kept: Path) -> None:
    folder = kept.with_suffix(".new")
    shutil.rmtree(folder, ignore_errors=True)
    packages, root = folder / "packages", folder / "root"
    packages.mkdir(parents=True)
    download = ["apt-get", "-o", "APT::Sandbox::User=root", "download", *PACKAGES]
    subprocess.run(download, cwd=packages, check=True, capture_output=True, timeout=120)
    _folders(root)
    for package in sorted(packages.glob("*.deb")):
        unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True)
        extract = ["tar", "--extract", "--keep-directory-symlink", "--no-same-owner", "--directory"]
        subprocess.run([*extract, str(root), "--file", "-"], input=unpacked.stdout, check=True)
    _finish(root)
    with tarfile.open(folder / "layer.tar", "w") as archive:
        archive.add(root, ".", filter=_as_root)
    (folder / "layer.tar").rename(kept)
    shutil.rmtree(folder, ignore_errors=True)


def _folders(root: Path) -> None:
    usr = [f"usr/{name}" for name in ("bin", "sbin", "lib", "lib64")]
    for name in (*usr, "proc", "sys", "dev", "tmp", "var", "etc", "run", "root", "home"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")


def _finish(root: Path) -> None:
    busybox = root / "usr/bin/busybox"
    listed = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    for name in listed.stdout.split():
        if not (root / "usr/bin" / name).is_symlink() and not (root / "usr/bin" / name).exists():
            (root / "usr/bin" / name).symlink_to("busybox")
    (root / "usr/bin/python3").unlink(missing_ok=True)
    (root / "usr/bin/python3").symlink_to("python3.11")
    people = {"passwd": "root:x:0:0:root:/root:/bin/sh\n", "group": "root:x:0:\n"}
    for name, text in people.items():
        (root / "etc" / name).write_text(text)
    release = root / "etc/os-release"
    release.unlink(missing_ok=True)
    release.write_text(f'PRETTY_NAME="{RELEASE}"\nID=debian\n')
    for name in ("doc", "man", "locale"):
        shutil.rmtree(root / "usr/share" / name, ignore_errors=True)


def _as_root(about: tarfile.TarInfo) -> tarfile.TarInfo:
    about.uid = about.gid = 0
    about.uname = about.gname = "root"
    about.mtime = 0
    return about


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    about = tarfile.TarInfo(name)
    about.size = len(content)
    archive.addfile(about, io.BytesIO(content))
