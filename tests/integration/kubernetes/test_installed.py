"""An executor as the chart installs it, reached through the API of its cluster while all that restarts."""

from __future__ import annotations

import base64
import copy
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from integration.kubernetes.test_rights import give

from support.helm import loaded, texts
from support.kubernetes.double import Double
from support.kubernetes.sites import Site, site_of
from support.sandbox import BIN, Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(180),
    pytest.mark.double_only("runs the programs of this machine in whatever image"),
]

LINES = 40
PROGRAM = f"""\
import time
for number in range({LINES}):
    print(number, flush=True)
    time.sleep(0.25)
open("result/out", "w").write("made there")
"""


@pytest.fixture
def cluster(double_of_kubernetes: Double) -> Iterator[Site]:
    """A namespace in which a pod may be whoever runs the tests: the interpreter may be theirs alone."""
    site = site_of(double_of_kubernetes, "privileged")
    try:
        yield site
    finally:
        site.close()


def values(cluster: Site) -> dict[str, Any]:
    return {"volume": {"claim": cluster.claim}, "settings": {"kubernetes.image": cluster.image}}


def template(cluster: Site) -> dict[str, Any]:
    """The executor's pod, which runs the program that is tested."""
    found = texts(values(cluster), "lab", cluster.namespace)["pollinator-executor/templates/deployment.yaml"]
    [deployment] = loaded(found)
    pod: dict[str, Any] = copy.deepcopy(deployment["spec"]["template"])
    pod["spec"]["securityContext"] = {"seccompProfile": {"type": "RuntimeDefault"}}
    pod["spec"]["containers"][0]["command"] = [str(BIN / "pollinator-executor")]
    return {"apiVersion": "v1", "kind": "Pod", **pod}


def start(cluster: Site, name: str) -> None:
    pod = template(cluster)
    pod["metadata"]["name"] = name
    cluster.create(pod)

    def is_ready(each: dict[str, Any]) -> bool:
        conditions = each["status"].get("conditions") or ()
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    cluster.wait("pods", name, is_ready, timeout_s=60)


@contextmanager
def installed(box: Sandbox, cluster: Site, root: Path) -> Generator[None]:
    """The chart's executor, added here as ``lab``."""
    give(cluster, values(cluster))
    made = box.cli("executors", "certificate", "lab", cwd=root)
    assert b"create secret generic pollinator-executor-certificate" in made.stdout, made.stderr
    half = box.folder / "c/pollinator/certificates/lab/server"
    data = {each.name: base64.b64encode(each.read_bytes()).decode() for each in half.iterdir()}
    secret = {"metadata": {"name": "pollinator-executor-certificate"}, "data": data}
    cluster.create({"apiVersion": "v1", "kind": "Secret", **secret})
    start(cluster, "lab-0")
    option = f"--set=kube.config={cluster.kubeconfig}"
    address = f"kube://{cluster.context}/{cluster.namespace}"
    added = box.cli("executors", "add", "lab", address, option, cwd=root)
    assert 0 == added.returncode, added.stderr
    assert b"kind:              kubernetes" in added.stdout
    yield
    box.cli("executors", "remove", "--force", "lab", cwd=root)


def test_a_followed_run_goes_on_when_the_executors_pod_is_replaced_and_the_server_restarts(
    sandbox: Sandbox, cluster: Site
) -> None:
    root = sandbox.project(program=PROGRAM)
    with installed(sandbox, cluster, root):
        with followed(sandbox, root) as process:
            assert process.stdout is not None
            first = process.stdout.readline()
            cluster.delete("pods", "lab-0")
            cluster.wait_gone("pods", "lab-0")
            start(cluster, "lab-1")
            with cluster.stopped():
                wait_until(lambda: is_missed(sandbox, root), "it is noticed")
            rest, messages = process.communicate(timeout=120)

        assert 0 == process.returncode, messages
        assert [str(each) for each in range(LINES)] == (first + rest).decode().split()
        assert "made there" == (root / "cfs/result/out").read_text()


@contextmanager
def followed(box: Sandbox, root: Path) -> Generator[subprocess.Popen[bytes]]:
    """A run whose output is read here; whatever happens, nobody waits for it for ever."""
    process = box.start_cli("run", "--on", "lab", "--follow", cwd=root)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def is_missed(box: Sandbox, root: Path) -> bool:
    """The executor is said to be out of reach."""
    return b"unreachable" in box.cli("executors", cwd=root).stdout
