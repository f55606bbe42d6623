"""What goes wrong with a cluster on demand: the double plays it as a real one would."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from support.kubernetes import containers
from support.kubernetes.asking import Line, path_of
from support.kubernetes.containers import Container, Plan
from support.kubernetes.double import Double
from support.kubernetes.jobs_of_tests import (
    container,
    failure,
    finished,
    job,
    running,
    state,
    the_pod,
    waiting,
)
from support.kubernetes.sites import Site, new_double, site_of
from support.kubernetes.store import condition

pytestmark = [pytest.mark.integration, pytest.mark.double_only("has faults"), pytest.mark.timeout(120)]

WAITS = "trap 'exit 9' TERM; while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def weak_double() -> Iterator[Double]:
    """One that is quick to give up nodes, and has Kueue."""
    double = new_double(node_grace_s=0.3, toleration_s=1, back_off_s=0.2, kueue=True)
    yield double
    double.close()


@pytest.fixture
def weak(weak_double: Double) -> Iterator[Site]:
    site = site_of(weak_double)
    try:
        yield site
    finally:
        site.close()


# Nodes


def test_a_node_that_is_cut_off_and_comes_back(weak: Site) -> None:
    weak.create(job(weak, "away", WAITS))
    pod = running(weak, "away")
    node, name = pod["spec"]["nodeName"], pod["metadata"]["name"]
    weak.double.cut_off(node)
    try:
        gone = weak.wait("pods", name, lambda each: "deletionTimestamp" in each["metadata"], "it is to go")
        assert "DeletionByTaintManager" == condition(gone, "DisruptionTarget")["reason"]
        seen = weak.line.ask("GET", path_of("nodes", "", node)).granted
        assert ("Unknown", "NodeStatusUnknown") == (
            condition(seen, "Ready")["status"],
            condition(seen, "Ready")["reason"],
        )
        assert "Running" == gone["status"]["phase"]
    finally:
        weak.double.come_back(node)
    weak.wait_gone("pods", name)
    assert finished(weak.wait("jobs", "away", finished))
    seen = weak.line.ask("GET", path_of("nodes", "", node)).granted
    assert ("True", []) == (condition(seen, "Ready")["status"], seen["spec"].get("taints", []))


def test_a_node_that_is_removed(weak: Site) -> None:
    weak.double.add_node("brief", {"only": "here"}, cpu="1", memory="1Gi")
    weak.create(job(weak, "here", WAITS, pod={"nodeSelector": {"only": "here"}}))
    pod = running(weak, "here")
    assert "brief" == pod["spec"]["nodeName"]
    weak.double.remove_node("brief")
    weak.wait("jobs", "here", finished)
    weak.wait_gone("pods", pod["metadata"]["name"])


def test_a_node_that_crashes_takes_what_runs_with_it(weak: Site) -> None:
    weak.create(job(weak, "crash", f"trap '' TERM; {WAITS}"))
    pod = running(weak, "crash")
    node, name = pod["spec"]["nodeName"], pod["metadata"]["name"]
    weak.double.crash(node)
    try:
        weak.wait("pods", name, lambda each: "deletionTimestamp" in each["metadata"], "it is to go")
    finally:
        weak.double.come_back(node)
    weak.wait_gone("pods", name)


def test_want_of_memory_at_a_node(cluster: Site) -> None:
    cluster.create(job(cluster, "evicted", WAITS))
    pod = running(cluster, "evicted")["metadata"]["name"]
    cluster.double.evict(cluster.namespace, pod)
    cluster.wait("jobs", "evicted", finished)
    ended = cluster.get("pods", pod)
    assert ("Failed", "Evicted") == (ended["status"]["phase"], ended["status"]["reason"])
    assert "TerminationByKubelet" == condition(ended, "DisruptionTarget")["reason"]
    assert "low on resource: memory" in ended["status"]["message"]


def test_a_pod_that_matters_less(cluster: Site) -> None:
    rule = {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget"}]}
    cluster.create(job(cluster, "less", WAITS, podFailurePolicy={"rules": [rule]}))
    cluster.double.preempt(cluster.namespace, running(cluster, "less")["metadata"]["name"])
    assert "DisruptionTarget" in failure(cluster.wait("jobs", "less", finished))[1]


# What is let in


async def test_a_container_whose_start_is_given_up_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: asyncio.Future[asyncio.subprocess.Process] = asyncio.get_running_loop().create_future()

    async def told(reads: int, process: asyncio.subprocess.Process) -> bytes:
        os.close(reads)
        begun.set_result(process)
        return await asyncio.Future()

    monkeypatch.setattr(containers, "_told", told)
    plan = Plan(["sleep", "600"], {}, "n", "/", 0, 0, [], [], False, False, 0)
    async with asyncio.TaskGroup() as group:
        start = group.create_task(Container.start(plan, tmp_path / "c", tmp_path / "log", ""))
        process = await begun
        start.cancel()

    assert start.cancelled()
    assert process.returncode is not None
    assert not (tmp_path / "c").exists()


def test_somebody_who_does_not_let_pods_in(cluster: Site) -> None:
    cluster.double.webhook(denies="images come from our registry only", namespace=cluster.namespace)
    cluster.create(job(cluster, "denied", "true"))
    says = 'admission webhook "policy.example.com" denied the request: images come from our registry only'
    cluster.wait(
        "jobs", "denied", lambda _: any(says in each for each in cluster.events("denied")), "it is told"
    )
    cluster.double.clear_faults()
    cluster.wait("jobs", "denied", finished)


def test_somebody_who_puts_a_container_into_every_pod(cluster: Site) -> None:
    mesh = container(cluster, WAITS, "mesh")
    cluster.double.webhook(adds=mesh, namespace=cluster.namespace)
    cluster.create(job(cluster, "meshed", "true"))
    pod = the_pod(cluster, "meshed")["metadata"]["name"]
    cluster.wait("pods", pod, lambda each: "running" in state(each, number=1), "theirs runs")
    ended = cluster.wait("pods", pod, lambda each: "terminated" in state(each), "ours has ended")
    assert "Running" == ended["status"]["phase"]
    assert not finished(cluster.get("jobs", "meshed"))


def test_a_queue_lets_jobs_in_one_day(weak: Site) -> None:
    queue = {"kueue.x-k8s.io/queue-name": "queue"}
    waits = job(weak, "queued", "true", suspend=True)
    waits["metadata"]["labels"] = queue
    with weak.double.settings(admits=False):
        weak.create(waits)
        weak.wait("jobs", "queued", lambda _: weak.all("workloads"), "it has a workload")
        name = weak.all("workloads")[0]["metadata"]["name"]
        told = weak.wait("workloads", name, lambda each: condition(each, "QuotaReserved"))
        assert "LocalQueue queue doesn't exist" == condition(told, "QuotaReserved")["message"]
        weak.create(
            {
                "apiVersion": "kueue.x-k8s.io/v1beta1",
                "kind": "LocalQueue",
                "metadata": {"name": "queue"},
                "spec": {},
            }
        )
        weak.wait("workloads", name, lambda each: condition(each, "QuotaReserved")["reason"] == "Pending")
        assert weak.get("jobs", "queued")["spec"]["suspend"]
    weak.wait("jobs", "queued", finished)
    assert "True" == condition(weak.get("workloads", name), "Admitted")["status"]


# Images


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("registry.example/missing:1", "not found"),
        ("registry.example/private:1", "authorization failed"),
        ("registry.example/busy:1", "429 Too Many Requests"),
    ],
    ids=("missing", "private", "busy"),
)
def test_registries_that_give_no_image(cluster: Site, image: str, says: str) -> None:
    main = container(cluster, "true", image=image)
    cluster.create(job(cluster, "image", "", pod={"containers": [main]}))
    pod = the_pod(cluster, "image")["metadata"]["name"]
    told = cluster.wait("pods", pod, lambda each: waiting(each) == "ImagePullBackOff")
    assert says in state(told)["waiting"]["message"]


def test_an_image_that_takes_its_time(weak: Site) -> None:
    main = container(weak, "true", image="registry.example/slow:1")
    weak.create(job(weak, "slow", "", pod={"containers": [main]}))
    pod = the_pod(weak, "slow")["metadata"]["name"]
    pulling = 'Pulling: Pulling image "registry.example/slow:1"'
    weak.wait("pods", pod, lambda _: pulling in weak.events(pod), "it is told")
    assert "ContainerCreating" == waiting(weak.get("pods", pod))
    weak.double.images_come()
    weak.wait("jobs", "slow", finished)


# The line


def test_what_changed_before_is_forgotten(cluster: Site) -> None:
    old = cluster.line.ask("GET", path_of("pods", cluster.namespace)).granted["metadata"]["resourceVersion"]
    cluster.double.forget()
    path = path_of("pods", cluster.namespace, watch="true", resourceVersion=old, timeoutSeconds=5)
    event = cluster.line.ask("GET", path).granted
    assert ("ERROR", 410, "Expired") == (event["type"], event["object"]["code"], event["object"]["reason"])


def test_requests_that_go_wrong(cluster: Site) -> None:
    double = cluster.double
    double.mark()
    double.fault("refuse", "create", "secrets", code=429, message="too many requests", retry_after_s=1)
    double.fault("lose", "create", "configmaps")
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    refused = cluster.line.create(secret, cluster.namespace)
    assert (429, "TooManyRequests", 1) == (
        refused.code,
        refused.reason,
        refused.body["details"]["retryAfterSeconds"],
    )
    assert 201 == cluster.line.create(secret, cluster.namespace).code
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    with pytest.raises(OSError, match=r"closed|reset|remote"):
        cluster.line.create(config, cluster.namespace)
    assert 409 == cluster.line.create(config, cluster.namespace).code
    assert [1, 1] == double.hits()[-2:]
    # What was done is known, whatever became of the answer.
    assert [201, 409] == [each.code for each in double.asked("create", "configmaps")]


def test_tokens_that_expire(cluster: Site) -> None:
    who = "system:serviceaccount:default:default"
    line = Line(cluster.kubeconfig_for({"token": cluster.double.token(who)}))
    assert 403 == line.ask("GET", path_of("pods", cluster.namespace)).code
    cluster.double.expire(who)
    assert 401 == line.ask("GET", path_of("pods", cluster.namespace)).code
    brief = Line(cluster.kubeconfig_for({"token": cluster.double.token(who, lasts_s=0.0)}))
    assert 401 == brief.ask("GET", path_of("pods", cluster.namespace)).code


def test_what_nobody_may_for_a_while(cluster: Site) -> None:
    cluster.double.deny("list pods")
    assert 403 == cluster.line.ask("GET", path_of("pods", cluster.namespace)).code
    cluster.double.clear_faults()
    assert 200 == cluster.line.ask("GET", path_of("pods", cluster.namespace)).code


def test_what_was_asked_is_known(cluster: Site) -> None:
    cluster.double.mark()
    cluster.create(job(cluster, "one", "true"))
    cluster.wait("jobs", "one", finished)
    (asked,) = cluster.double.asked("create", "jobs")
    assert ("kubernetes-admin", 201, cluster.namespace) == (asked.user, asked.code, asked.namespace)


# Itself


def test_memory_is_held_also_where_the_kernel_is_not_asked() -> None:
    with new_double(groups=False) as double:
        site = site_of(double)
        script = "python3 -c 'import time; x = bytearray(200_000_000); time.sleep(60)'; exit 0"
        site.create(job(site, "large", script))
        site.wait("jobs", "large", finished)
        (pod,) = site.all("pods")
        ended = state(pod)["terminated"]
        assert ("OOMKilled", 137) == (ended["reason"], ended["exitCode"])
        site.close()


def test_somebody_who_comes_while_it_closes_is_no_trouble() -> None:
    ended = threading.Event()

    def come(port: int) -> None:
        while not ended.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                pass

    with ThreadPoolExecutor(1) as pool:
        try:
            # When it is closed, it says whether there was trouble.
            with Double() as double:
                pool.submit(come, double.port)
                for _ in range(20):
                    double.stop()
                    double.start()
        finally:
            ended.set()


def test_what_it_keeps_is_as_the_schemas_say(cluster: Site) -> None:
    side = container(cluster, WAITS, "side", restartPolicy="Always")
    cluster.create(job(cluster, "valid", "exit 1", nodes=2, pod={"initContainers": [side]}))
    cluster.wait("jobs", "valid", finished)
    assert [] == cluster.double.wrong()


def test_nothing_of_it_is_left(cluster: Site) -> None:
    with new_double() as double:
        site = site_of(double)
        site.create(job(site, "stays", f"trap '' TERM; {WAITS}", nodes=2))
        site.wait("jobs", "stays", lambda each: each["status"].get("ready") == 2, "both run")
        mark, folder = double.folder.name[-8:], double.folder
        assert _processes(mark)
    deadline = time.monotonic() + 10
    while left := _processes(mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    assert not folder.exists()
    assert [] == [each for each in _groups() if mark in each]


def _processes(mark: str) -> list[str]:
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            found += [line for line in path.read_text().splitlines() if mark in line]
        except OSError:
            continue
    return found


def _groups() -> list[str]:
    return [str(each) for each in Path("/sys/fs/cgroup").glob("*/pol-k8s-*")]
