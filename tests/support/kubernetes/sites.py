"""Clusters for tests: the double, or a real one that the environment names.

- ``POLLINATOR_TEST_KUBECONFIG``: a file whose current context is an administrator of the real cluster.
- ``POLLINATOR_TEST_KUBE_VOLUME``: a folder of this machine that is the same folder on its nodes.
- ``POLLINATOR_TEST_KUBE_IMAGE``: an image that its nodes have, with ``sh`` and ``python3``.
- ``POLLINATOR_TEST_KUBE_STOP`` and ``POLLINATOR_TEST_KUBE_START``: commands that do so to its API server.
- ``POLLINATOR_TEST_KUBE_EXECUTOR``: the executor's image, made from this source by its Containerfile.
- ``POLLINATOR_TEST_KUBE_HOST``: where its pods reach what listens on loopback here.

What only the double can do, as losing nodes, is then skipped: such tests are marked ``double_only``, and say
what it is. CONTRIBUTING.md tells of it as well.
"""

from __future__ import annotations

import itertools
import secrets
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.components import missing
from support.kubernetes.asking import Line, Said, path_of
from support.kubernetes.containers import cannot_run
from support.kubernetes.double import Double
from support.kubernetes.kinds import Obj
from support.kubernetes.security import LABEL
from support.private import CALLER

COMPONENT = "kubernetes"
"""The word for ``POLLINATOR_REQUIRE``."""
_PREFIX = "POLLINATOR_TEST_KUBE"
_IMAGE = "registry.example/tests:1"
_WAIT_S = 60.0
_NUMBERS = itertools.count()
_OURS = ("jobs", "pods", "secrets", "services", "configmaps")
_NOT_OURS = ("kube-root-ca.crt", "openshift-service-ca.crt")


class Site:
    """A namespace of a cluster, with a claim, and the volume behind it as a folder of this machine.

    Args:
        line: the way to the cluster, as an administrator.
        there: the double, where that is the cluster.
        folder: that the nodes see as well; what is made below it is removed.
        image: that the nodes have.
        level: standard of security of the pods in the namespace.
    """

    claim = "volume"

    def __init__(
        self, line: Line, there: Double | None, folder: Path, image: str, level: str = "restricted"
    ) -> None:
        self.line, self.there, self.image = line, there, image
        self.namespace = f"pol-{secrets.token_hex(4)}-{next(_NUMBERS)}"
        self.folder = folder / self.namespace
        """The volume."""
        self.folder.mkdir(mode=0o755)
        self._files = Path(tempfile.mkdtemp(prefix="pol-kubeconfig-"))
        self._cordoned: list[str] = []
        self.kubeconfig = self._write("config", {})
        """Of an administrator, with the namespace as the one that is meant."""
        self._make(level)

    @property
    def double(self) -> Double:
        """The double. Who needs it is marked ``double_only``, with the reason."""
        if self.there is None:
            pytest.fail("a test that needs the double of Kubernetes is not marked double_only")
        return self.there

    @property
    def context(self) -> str:
        """The name of the context in ``kubeconfig``."""
        return str(self.line.read["current-context"])

    def kubeconfig_for(self, user: Mapping[str, Any], name: str = "") -> Path:
        """A file for somebody else: ``user`` is what it says of them, as ``{"token": …}``."""
        return self._write(name or f"config-{next(_NUMBERS)}", dict(user))

    # Objects

    def create(self, obj: Obj) -> Obj:
        """Create an object in the namespace."""
        made: Obj = self.line.create(obj, self.namespace).granted
        return made

    def get(self, plural: str, name: str) -> Obj:
        """An object of the namespace."""
        found: Obj = self.line.ask("GET", path_of(plural, self.namespace, name)).granted
        return found

    def find(self, plural: str, name: str) -> Obj | None:
        """An object of the namespace, if there is one."""
        said = self.line.ask("GET", path_of(plural, self.namespace, name))
        return None if said.code == 404 else said.granted

    def all(self, plural: str, **query: str) -> list[Obj]:
        """Those of the namespace; ``labelSelector`` and ``fieldSelector`` choose."""
        found: list[Obj] = self.line.ask("GET", path_of(plural, self.namespace, **query)).granted["items"]
        return found

    def delete(self, plural: str, name: str, **options: Any) -> Said:
        """Delete an object, with its dependents unless the options say."""
        given = {"propagationPolicy": "Background", **options}
        return self.line.ask("DELETE", path_of(plural, self.namespace, name), given)

    def patch(self, plural: str, name: str, patch: Any) -> Said:
        """Change an object."""
        return self.line.patch(plural, self.namespace, name, patch)

    def log(self, pod: str, **query: Any) -> str:
        """What a container of a pod printed."""
        return str(self.line.ask("GET", path_of("pods", self.namespace, pod, "log", **query)).granted)

    def events(self, of: str = "") -> list[str]:
        """``REASON: MESSAGE`` of what was told, of an object or of all."""
        found = self.all("events")
        chosen = [each for each in found if of in ("", each["involvedObject"]["name"])]
        return [f"{each['reason']}: {each['message']}" for each in chosen]

    def left(self) -> list[str]:
        """What is there of the kinds that runs have, as ``KIND/NAME``."""
        found = [(plural, each["metadata"]["name"]) for plural in _OURS for each in self.all(plural)]
        return [f"{plural}/{name}" for plural, name in found if name not in _NOT_OURS]

    def wait(
        self, plural: str, name: str, is_so: Callable[[Obj], Any], what: str = "", timeout_s: float = _WAIT_S
    ) -> Obj:
        """Wait until something is so of an object; as it is then."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.find(plural, name)
            if found is not None and is_so(found):
                return found
            if time.monotonic() > deadline:
                pytest.fail(f"not within {timeout_s:g} s: {what or is_so.__name__}: {plural}/{name}: {found}")
            time.sleep(0.02)

    def wait_gone(self, plural: str, name: str, timeout_s: float = _WAIT_S) -> None:
        """Wait until an object is no more."""
        deadline = time.monotonic() + timeout_s
        while (found := self.find(plural, name)) is not None:
            if time.monotonic() > deadline:
                pytest.fail(f"not within {timeout_s:g} s: {plural}/{name} is gone: {found}")
            time.sleep(0.02)

    # Nodes, and the server

    def nodes(self) -> list[str]:
        """Their names."""
        return [each["metadata"]["name"] for each in self.line.ask("GET", path_of("nodes")).granted["items"]]

    def drain(self, node: str) -> None:
        """Take a node out of use, as an administrator does: no more pods, and those of the namespace go."""
        self._cordoned.append(node)
        self._cordon(node, yes=True)
        for pod in self.all("pods", fieldSelector=f"spec.nodeName={node}"):
            name = pod["metadata"]["name"]
            eviction = {
                "apiVersion": "policy/v1",
                "kind": "Eviction",
                "metadata": {"name": name, "namespace": self.namespace},
            }
            said = self.line.ask("POST", path_of("pods", self.namespace, name, "eviction"), eviction)
            assert said.code < 300, said.body

    def undrain(self) -> None:
        """Use all nodes again."""
        while self._cordoned:
            self._cordon(self._cordoned.pop(), yes=False)

    def _cordon(self, node: str, *, yes: bool) -> None:
        said = self.line.patch("nodes", "", node, {"spec": {"unschedulable": yes or None}})
        assert said.code < 300, said.body

    @contextmanager
    def stopped(self) -> Generator[None]:
        """The API server does not answer for a while, and what runs goes on."""
        if self.there is not None:
            self.there.stop()
        else:
            _command("STOP")
        try:
            yield
        finally:
            if self.there is not None:
                self.there.start()
            else:
                _command("START")
                self._answers()

    def _answers(self) -> None:
        deadline = time.monotonic() + _WAIT_S
        while time.monotonic() < deadline:
            try:
                if self.line.ask("GET", "/readyz").code == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        pytest.fail("the API server does not come back")

    # How it comes and goes

    def _make(self, level: str) -> None:
        meta = {"name": self.namespace, "labels": {LABEL: level}}
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
        self.line.create(space).granted  # noqa: B018 - fails where it is refused
        size, modes = {"storage": "1Gi"}, ["ReadWriteMany"]
        volume = {
            "capacity": size,
            "accessModes": modes,
            "storageClassName": "",
            "hostPath": {"path": str(self.folder)},
        }
        claim = {
            "accessModes": modes,
            "storageClassName": "",
            "volumeName": self.namespace,
            "resources": {"requests": size},
        }
        for kind, name, spec in (
            ("PersistentVolume", self.namespace, volume),
            ("PersistentVolumeClaim", self.claim, claim),
        ):
            obj = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
            self.line.create(obj, self.namespace).granted  # noqa: B018
        self.wait("persistentvolumeclaims", self.claim, lambda each: each["status"]["phase"] == "Bound")

    def close(self) -> None:
        """Remove what was made."""
        self.undrain()
        if self.there is not None:
            self.there.clear_faults()
        for pod in self.all("pods"):
            self.delete("pods", pod["metadata"]["name"], gracePeriodSeconds=0)
        self.line.ask("DELETE", path_of("namespaces", "", self.namespace), {})
        self.line.ask("DELETE", path_of("persistentvolumes", "", self.namespace), {})
        shutil.rmtree(self._files, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, user: dict[str, Any]) -> Path:
        read = yaml.safe_load(yaml.safe_dump(self.line.read))
        wanted = read["current-context"]
        context = next(each for each in read["contexts"] if each["name"] == wanted)["context"]
        context["namespace"] = self.namespace
        if user:
            for each in read["users"]:
                if each["name"] == context["user"]:
                    each["user"] = user
        path = self._files / name
        path.write_text(yaml.safe_dump(read))
        path.chmod(0o600)
        return path


def is_real() -> bool:
    """The environment names a real cluster."""
    return bool(CALLER.get(f"{_PREFIX}CONFIG"))


def real_site(level: str = "restricted") -> Site:
    """A namespace of the real cluster."""
    said = {name: CALLER.get(f"{_PREFIX}{name}", "") for name in ("CONFIG", "_VOLUME", "_IMAGE")}
    if absent := [f"{_PREFIX}{name}" for name, value in said.items() if not value]:
        pytest.fail(f"not set, but others are: {', '.join(absent)}")
    return Site(Line(Path(said["CONFIG"])), None, Path(said["_VOLUME"]), said["_IMAGE"], level)


def named(what: str, why: str) -> str:
    """What the environment says of the real cluster besides; skips the test where it does not.

    Args:
        what: the end of the variable's name.
        why: what it would name.
    """
    variable = f"{_PREFIX}_{what}"
    return CALLER.get(variable) or missing(f"{variable} does not say {why}", COMPONENT)


def executors_image() -> str:
    """The executor's own, at a real cluster."""
    return named("EXECUTOR", "which image is the executor's")


def site_of(double: Double, level: str = "restricted") -> Site:
    """A namespace of a double."""
    volumes = double.folder / "volumes"
    volumes.mkdir(exist_ok=True)
    return Site(Line(double.kubeconfig), double, volumes, _IMAGE, level)


def new_double(**settings: Any) -> Double:
    """A double; skips the test where none can run."""
    if why := cannot_run():
        missing(f"no double of Kubernetes: {why}", COMPONENT)
    return Double(**settings)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip at a real cluster, before anything is set up, what only the double does."""
    mark = item.get_closest_marker("double_only")
    if mark is not None and COMPONENT in item.path.parts and is_real():
        pytest.skip(f"only the double of Kubernetes {mark.args[0]}")


@pytest.fixture(scope="session")
def double_of_kubernetes() -> Iterator[Double]:
    """A double for all tests; what a test changes of it, it brings back."""
    double = new_double()
    yield double
    double.close()


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A namespace of its own for every test, with a claim, a volume, and a file for clients."""
    site = real_site() if is_real() else site_of(request.getfixturevalue("double_of_kubernetes"))
    try:
        yield site
    finally:
        site.close()


def _command(what: str) -> None:
    command = named(what, "how the API server is stopped and started")
    subprocess.run(shlex.split(command), check=True, stdout=subprocess.DEVNULL)
