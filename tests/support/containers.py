"""Container engines and registries for tests: real ones, on this machine alone."""

from __future__ import annotations

import atexit
import base64
import json
import os
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pollinator.executors.containers.engines import Engine, probe_engine
from support.components import Process, listens, missing, program
from support.image_files import KEPT, Image, small_image
from support.scripted_s3 import unused_port

COMPONENT = "containers"
SOURCE = "make components"
REGISTRY_SOURCE = "apt-get install docker-registry, or make components"


@cache
def apptainer() -> Engine:
    """Apptainer, if it works here. Skips the test where it does not."""
    program("apptainer", COMPONENT, SOURCE)
    # What carries file systems for users needs this device, which some machines keep from them.
    if os.geteuid() == 0 and os.path.exists("/dev/fuse"):
        os.chmod("/dev/fuse", 0o666)
    found = probe_engine("apptainer")
    if isinstance(found, str):
        missing(f"apptainer does not work: {found}", COMPONENT)
    return found


class Dockerd:
    """A Docker daemon that leaves the machine's network alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        programs = [program(name, COMPONENT, SOURCE) for name in ("dockerd", "docker", "containerd", "runc")]
        if os.geteuid() != 0:
            missing("only root can start a Docker daemon", COMPONENT)
        self.client = programs[1]
        self.host = f"unix://{folder}/d.sock"
        settings = {
            "data-root": str(folder / "data"),
            "exec-root": str(folder / "exec"),
            "pidfile": str(folder / "pid"),
            "hosts": [self.host],
            "bridge": "none",
            "iptables": False,
            "ip-forward": False,
            "ip-masq": False,
        }
        (folder / "daemon.json").write_text(json.dumps(settings))
        # A test's own folders, which its variables may name, are gone before this daemon is.
        clean = ["env", "-i", f"PATH={os.environ['PATH']}:/usr/sbin:/sbin"]
        command = [*clean, programs[0], "--config-file", str(folder / "daemon.json")]
        self._process = Process(command, folder / "dockerd.log")
        self._process.wait_for(self._answers, "dockerd")

    @property
    def env(self) -> dict[str, str]:
        """By which its clients find it."""
        return {"DOCKER_HOST": self.host}

    def containers(self) -> list[str]:
        """Names of all containers there are."""
        return self.run("ps", "--all", "--format", "{{.Names}}").split()

    def run(self, *arguments: str) -> str:
        """What a command of the client prints."""
        done = subprocess.run(
            [self.client, "--host", self.host, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        """End it, and what it started."""
        self._process.end()
        # It leaves the machine's network mounted there.
        subprocess.run(["umount", self._folder / "exec/netns/default"], capture_output=True, check=False)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _answers(self) -> bool:
        ask = [self.client, "--host", self.host, "version"]
        return subprocess.run(ask, capture_output=True, timeout=20, check=False).returncode == 0


@cache
def shared_dockerd() -> Dockerd:
    """One daemon for all tests, in a folder with a short name: paths of sockets are limited."""
    daemon = Dockerd(Path(tempfile.mkdtemp(prefix="pol-")))
    atexit.register(daemon.stop)
    return daemon


@cache
def small_archive() -> str:
    """The small image as users name it: an archive that is kept between test runs."""
    image = small_image()
    path = KEPT / f"{image.manifest.digest[7:19]}.oci.tar"
    if not path.exists():
        image.archive(path.with_suffix(f".{os.getpid()}")).replace(path)
    return f"oci-archive:{path}"


def apptainer_specs() -> dict[str, str]:
    """What a spec says that runs in the small image under Apptainer."""
    return {"image": small_archive(), "engine": apptainer().name}


def docker_specs() -> dict[str, str]:
    """What a spec says that runs in the small image under Docker."""
    shared_dockerd()
    return {"image": small_archive(), "engine": "docker"}


@pytest.fixture(scope="session")
def dockerd() -> Dockerd:
    """A real daemon, which stays until the end."""
    return shared_dockerd()


USER, PASSWORD = "ada", "engine: 1815"
_HASH = "$2y$05$abcdefghijklmnopqrstuufYNNTqmTaujITAA5yjBykqog1Ii52Zm"
"""Of the password, as htpasswd writes it."""

_SETTINGS = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/blobs}}, delete: {{enabled: true}}}}
http: {{addr: 127.0.0.1:{port}, secret: for-tests}}
"""
_PRIVATE = "auth: {{htpasswd: {{realm: tests, path: {folder}/users}}}}\n"


class Registry:
    """A real registry on loopback."""

    def __init__(self, folder: Path, *, private: bool = False) -> None:
        serve = program("docker-registry", COMPONENT, REGISTRY_SOURCE)
        self.port = unused_port()
        self.host = f"127.0.0.1:{self.port}"
        self._private = private
        settings = (_SETTINGS + _PRIVATE * private).format(folder=folder, port=self.port)
        (folder / "registry.yml").write_text(settings)
        (folder / "users").write_text(f"{USER}:{_HASH}\n")
        self._command = [serve, "serve", str(folder / "registry.yml")]
        self._log = folder / "registry.log"
        self.start()

    def start(self) -> None:
        """Start it, again if need be: what it holds is kept."""
        self._process = Process(self._command, self._log)
        self._process.wait_for(lambda: listens(self.port), "docker-registry")

    def stop(self) -> None:
        """End it."""
        self._process.stop()

    def push(self, image: Image, name: str = "some/image", tag: str = "1") -> str:
        """Put an image there; its name."""
        for blob in (image.config, image.layer):
            reply = self._send("POST", f"/v2/{name}/blobs/uploads/")
            place = reply.headers["Location"].partition(self.host)[2]
            joint = "&" if "?" in place else "?"
            self._send("PUT", f"{place}{joint}digest={blob.digest}", blob.content)
        self._send("PUT", f"/v2/{name}/manifests/{tag}", image.manifest.content, image.manifest.kind)
        return f"{self.host}/{name}:{tag}"

    def requests(self) -> int:
        """How long its log of requests is by now."""
        return len(self._log.read_bytes())

    def login(self, folder: Path) -> Path:
        """Write the file in which Docker keeps the password; the folder that it is in."""
        word = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": word}}}))
        return folder

    def _send(self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream") -> Any:
        request = urllib.request.Request(f"http://{self.host}{path}", body, method=method)
        request.add_header("Content-Type", kind)
        if self._private:
            word = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            request.add_header("Authorization", f"Basic {word}")
        return urllib.request.urlopen(request, timeout=20)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """One that everybody may ask."""
    yield from _running(tmp_path / "registry", private=False)


@pytest.fixture
def private_registry(tmp_path: Path) -> Iterator[Registry]:
    """One that wants a password."""
    yield from _running(tmp_path / "private", private=True)


def _running(folder: Path, *, private: bool) -> Iterator[Registry]:
    folder.mkdir()
    made = Registry(folder, private=private)
    try:
        yield made
    finally:
        made.stop()
