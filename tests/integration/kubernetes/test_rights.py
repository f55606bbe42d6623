"""The rights that the chart gives are those that an executor uses: no fewer, and no more."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pollinator.chunks.stores import open_store
from pollinator.v1.run_pb2 import RunState
from support.executing import ExecutorProcess, Profile
from support.helm import loaded, texts
from support.kubernetes.sites import Site
from support.kubernetes_bucket import put_into, settings_of
from support.s3_servers import S3Server
from support.sandbox import Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
NAME = "lab-pollinator-executor"
SELDOM = {
    ("get", "jobs"): "where one of the name is there already",
    ("list", "events"): "where one waits",
    ("patch", "secrets"): "where credentials for the bucket are renewed",
    ("list", "workloads"): "where there is a queue of Kueue",
    ("get", "localqueues/pendingworkloads"): "the same",
}
PROGRAM = """\
import os
print(os.environ["RANK"], len(os.environ["TOLD"]))
open("result/" + os.environ["RANK"], "w").write("made there")
"""


def give(cluster: Site, values: dict[str, Any]) -> None:
    """Have the account that the chart makes, with its rights."""
    found = texts(values, "lab", cluster.namespace)
    for each in loaded(found["pollinator-executor/templates/account.yaml"]):
        assert each["kind"] in RIGHTS
        cluster.create(each)


def rules(values: dict[str, Any]) -> set[tuple[str, str]]:
    """What they allow, as verbs and resources."""
    found = texts(values, "lab", "runs")["pollinator-executor/templates/account.yaml"]
    return {
        (verb, resource)
        for each in loaded(found)
        for rule in each.get("rules") or ()
        for verb in rule["verbs"]
        for resource in rule["resources"]
    }


def account(cluster: Site) -> Path:
    """A file for who has them."""
    return cluster.kubeconfig_for({"token": cluster.double.token(user_of(cluster))})


def user_of(cluster: Site) -> str:
    return f"system:serviceaccount:{cluster.namespace}:{NAME}"


def asked(cluster: Site) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """What was refused to the account, and what it was given, since the mark; objects only."""
    found = [each for each in cluster.double.asked() if each.user == user_of(cluster) and each.resource]
    refused = {(each.verb, each.resource) for each in found if each.code == 403}
    return refused, {(each.verb, each.resource) for each in found} - refused


@pytest.fixture
def box(sandbox: Sandbox, cluster: Site) -> Iterator[Sandbox]:
    yield sandbox
    # What it has there is removed with the namespace.
    sandbox.cli("executors", "remove", "--force", "lab", cwd=sandbox.folder)


@pytest.mark.double_only("tells what was asked, and by whom")
@pytest.mark.parametrize("values", [{}, {"nodes": {"read": True}}], ids=["of the namespace", "nodes as well"])
def test_a_run_asks_for_what_the_chart_allows_and_for_nothing_else(
    box: Sandbox, cluster: Site, values: dict[str, Any]
) -> None:
    give(cluster, values)
    config = account(cluster)
    root = box.project(program=PROGRAM)
    (root / "told").write_text("TOLD=sixteen letters.\n")
    settings = {
        "kubernetes.kubeconfig": str(config),
        "kubernetes.claim": cluster.claim,
        "kubernetes.mount": str(cluster.folder),
    }
    options = [f"--set={name}={value}" for name, value in settings.items()]
    cluster.double.mark()

    address = f"local:{cluster.folder}"
    added = box.cli("executors", "add", "lab", address, "--kind", "kubernetes", *options, cwd=root)
    wanted = ["--set=conditions.nodes=2", f"--set=environment.docker={cluster.image}", "--secret-file=told"]
    done = box.cli("run", "--on", "lab", "--follow", *wanted, cwd=root, timeout=100)

    assert 0 == added.returncode, added.stderr
    assert 0 == done.returncode, done.stderr
    assert [b"0 16", b"1 16"] == sorted(each[-4:] for each in done.stdout.splitlines())
    assert "made there" == (root / "cfs/result/1").read_text()
    wait_until(lambda: not cluster.all("jobs"), "its Job is gone")
    refused, used = asked(cluster)
    assert (set() if "nodes" in values else {("list", "nodes")}) == refused
    assert rules(values) - set(SELDOM) == used - set(SELDOM)
    assert used <= rules(values)


@pytest.mark.double_only("tells what was asked, and by whom")
async def test_a_run_through_the_bucket_asks_for_what_the_chart_allows_for_that(
    cluster: Site, rclone_s3: S3Server
) -> None:
    values = {"volume": {"shared": False}}
    give(cluster, values)
    config = account(cluster)
    profile = Profile(
        kind="kubernetes",
        environment=lambda: {"KUBECONFIG": str(config)},
        site=lambda: settings_of(cluster, rclone_s3, keys=True),
        prepare=lambda request: put_into(rclone_s3.settings(), request),
        store=lambda project: open_store(rclone_s3.settings(), project),
    )
    box = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    executor = ExecutorProcess("kubernetes", box, {"image": cluster.image}, profile)
    try:
        await executor.start()
        cluster.double.mark()
        ended = await executor.run("print('there')")
        assert RunState.RUN_STATE_SUCCEEDED == ended.run.state
        async with asyncio.timeout(60):
            while cluster.all("jobs"):  # noqa: ASYNC110 - a cluster rings no bell
                await asyncio.sleep(0.1)
    finally:
        await executor.close()

    refused, used = asked(cluster)
    assert {("list", "nodes")} >= refused
    # One node needs no names.
    assert rules(values) - set(SELDOM) - {("create", "services")} == used - set(SELDOM)
    assert {("patch", "secrets")} == rules(values) - rules({})
    assert ("patch", "secrets") in SELDOM
