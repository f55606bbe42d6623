"""What is installed at a site: a wheel of this very installation, and wheels of what it needs.

Our own is made from the files that are installed here, whether by a package, by pipx, or from a checkout. The
others are fetched by pip for the machine and the Python over there, where the site itself cannot.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
import tempfile
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pollinator.daemon.pool import Pool
from pollinator.daemon.reach.transport import Tell
from pollinator.wire import places
from pollinator.wire.errors import Unavailable, WrongState

NAME = "pollinatord"
FETCH_S = 900.0
_KEPT = ("METADATA", "WHEEL", "entry_points.txt")
_WHEEL = "Wheel-Version: 1.0\nGenerator: pollinator\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


class Wheels:
    """Wheels in the cache of this user. Which of our own it is, is known once ``prepare`` has returned."""

    def __init__(self) -> None:
        self.version = importlib.metadata.version(NAME)
        self._pool = Pool("wheels", 1)
        self._own: Path | None = None
        self._making = asyncio.Lock()
        self._fetching = asyncio.Lock()

    @property
    def own(self) -> Path:
        """The wheel of this installation."""
        assert self._own is not None
        return self._own

    @property
    def tag(self) -> str:
        """Names an environment: version and content."""
        return f"{self.version}-{self.own.parent.name}"

    async def prepare(self) -> None:
        """Make our own wheel, unless it is there."""
        async with self._making:
            if self._own is None:
                self._own = await self._pool.run(make_own_wheel, places.cache_dir() / "wheels")

    async def read(self, wheel: Path) -> bytes:
        """The bytes of a wheel."""
        return await self._pool.run(wheel.read_bytes)

    async def fetch(self, site: Mapping[str, Any], tell: Tell) -> list[Path]:
        """All wheels for a site but our own, fetched here unless they are in the cache.

        Raises:
            PollinatorError: they cannot be had.
        """
        about = (site["python"], site["platform"], site["glibc"], site["pip"], requirements())
        mark = hashlib.blake2b(repr(about).encode(), digest_size=8).hexdigest()
        folder = places.cache_dir() / "wheels" / f"for-{mark}"
        async with self._fetching:
            if not folder.exists():
                places.private_dir(folder.parent)
                with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
                    fresh = Path(scratch, "wheels")
                    await self._download(fresh, site, tell)
                    os.rename(fresh, folder)
        return sorted(folder.glob("*.whl"))

    async def _download(self, folder: Path, site: Mapping[str, Any], tell: Tell) -> None:
        python = ".".join(map(str, site["python"]))
        tell(f"fetching packages for Python {python} on {site['platform']}")
        command = [*pip_command(), "download", "--quiet", "--no-input", "--disable-pip-version-check"]
        command += ["--only-binary=:all:", f"--dest={folder}", f"--python-version={python}"]
        command += [f"--implementation={'cp' if site['implementation'] == 'cpython' else 'py'}"]
        command += [f"--abi={abi}" for abi in (f"cp{python.replace('.', '')}", "abi3", "none")]
        command += [f"--platform={each}" for each in platforms(site)]
        command += [*requirements(), *([] if site["pip"] else ["pip"])]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(FETCH_S):
                said, _ = await process.communicate()
        except TimeoutError:
            said = f"pip was not done after {FETCH_S:.0f} s".encode()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            words = said.decode("utf-8", "replace").strip().splitlines() or ["pip said nothing"]
            raise Unavailable(
                f"the packages that the site needs cannot be fetched here either: {words[-1]}",
                reason="packages_unreachable",
                hint="let this machine or the site reach a package index; pip's own settings are used",
            )


def requirements() -> list[str]:
    """What this installation needs, as its package says."""
    return sorted(each for each in importlib.metadata.requires(NAME) or () if "extra ==" not in each)


def make_own_wheel(folder: Path) -> Path:
    """Write the wheel of this installation into a folder named by its content."""
    files = dict(sorted(_own_files()))
    digest = hashlib.blake2b(digest_size=5)
    for name, data in files.items():
        digest.update(f"{len(name)}:{name}{len(data)}:".encode() + data)
    version = importlib.metadata.version(NAME)
    path = folder / digest.hexdigest() / f"{NAME}-{version}-py3-none-any.whl"
    if path.exists():
        return path
    places.private_dir(path.parent)
    record = f"{NAME}-{version}.dist-info/RECORD"
    lines = [f"{name},sha256={_sha256(data)},{len(data)}" for name, data in files.items()]
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with zipfile.ZipFile(fresh, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in {**files, record: "\n".join([*lines, f"{record},,", ""]).encode()}.items():
            # The same content is the same file, whenever it was made.
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            wheel.writestr(info, data)
    fresh.replace(path)
    return path


def _own_files() -> Iterator[tuple[str, bytes]]:
    about = importlib.metadata.distribution(NAME)
    folder = f"{NAME}-{about.version}.dist-info"
    for name in _KEPT:
        text = _WHEEL if name == "WHEEL" else about.read_text(name)
        if text:
            yield f"{folder}/{name}", text.encode()
    listed = [each for each in about.files or () if each.parts[0] == "pollinator"]
    if listed:
        for each in listed:
            if _counts(Path(each)):
                yield str(each), Path(str(each.locate())).read_bytes()
        return
    # Installed from a checkout: the list names no module, and each source root has a part of the package.
    for root in map(Path, importlib.import_module("pollinator").__path__):
        for path in root.rglob("*"):
            if path.is_file() and _counts(path):
                yield f"pollinator/{path.relative_to(root).as_posix()}", path.read_bytes()


def _counts(path: Path) -> bool:
    return "__pycache__" not in path.parts and path.suffix not in (".pyc", ".proto")


def _sha256(data: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def platforms(site: Mapping[str, Any]) -> list[str]:
    """Tags of wheels that run there, the newest first."""
    if not str(site["platform"]).startswith("linux"):
        return [str(site["platform"]).replace("-", "_").replace(".", "_")]
    machine = str(site["machine"])
    major, _, minor = str(site["glibc"]).partition(".")
    if major != "2":
        # Without glibc it is musl; 1.2 is what systems with a Python this new have.
        return [f"musllinux_1_{each}_{machine}" for each in (2, 1)]
    newest = [f"manylinux_2_{each}_{machine}" for each in range(int(minor), 16, -1)]
    return [*newest, f"manylinux2014_{machine}", f"linux_{machine}"]


def pip_command() -> list[str]:
    """How pip is called here: installations by uv have none of their own."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("ensurepip") is not None:
        bundled = Path(str(importlib.import_module("ensurepip").__file__)).parent / "_bundled"
        for wheel in sorted(bundled.glob("pip-*.whl")):
            return [sys.executable, str(wheel / "pip")]
    raise WrongState(
        "the packages that the site needs cannot be fetched: there is no pip here",
        reason="no_pip",
        hint="install pip beside Pollinator",
    )
