"""An executor as the chart installs it, reached through the API of its cluster while all that restarts."""

from __future__ import annotations

import base64
import copy
import os
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from integration.kubernetes.test_rights import give

from support.helm import loaded, texts
from support.kubernetes.sites import Site, executors_image, is_real, real_site, site_of
from support.sandbox import BIN, Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

LINES = 40
PROGRAM = f"""\
import time
for number in range({LINES}):
    print(number, flush=True)
    time.sleep(0.25)
open("result/out", "w").write("made there")
"""


USER = 1000
"""Who the chart's executor is."""


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A namespace whose volume is the executor's.

    At the double a pod may be whoever runs the tests: the interpreter may be theirs alone.
    """
    if is_real():
        site = real_site()
        # A folder of a node is nobody's whom a pod says: Kubernetes gives only volumes of other kinds away.
        os.chown(site.folder, USER, USER)
    else:
        site = site_of(request.getfixturevalue("double_of_kubernetes"), "privileged")
    try:
        yield site
    finally:
        site.close()


def values(cluster: Site) -> dict[str, Any]:
    found = {"volume": {"claim": cluster.claim}, "settings": {"kubernetes.image": cluster.image}}
    if cluster.there is None:
        repository, _, tag = executors_image().rpartition(":")
        found["image"] = {"repository": repository, "tag": tag}
    return found


def template(cluster: Site) -> dict[str, Any]:
    """The executor's pod; at the double it runs the program that is tested."""
    found = texts(values(cluster), "lab", cluster.namespace)["pollinator-executor/templates/deployment.yaml"]
    [deployment] = loaded(found)
    pod: dict[str, Any] = copy.deepcopy(deployment["spec"]["template"])
    if cluster.there is not None:
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
