"""The cluster of the tests itself: the double does what a real one does. Runs unchanged on a real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.kubernetes.jobs_of_tests import (
    RESTRICTED,
    container,
    failure,
    finished,
    job,
    pods_of,
    running,
    state,
    the_pod,
    volume,
    waiting,
)
from support.kubernetes.kinds import Obj, part
from support.kubernetes.sites import Site
from support.kubernetes.store import condition
from support.sandbox import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

WAITS = "trap 'exit 9' TERM; while :; do sleep 0.1; done"
FAIL_JOB: Obj = {
    "rules": [
        {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": {"operator": "NotIn", "values": [0]}},
    ]
}


# Ends


def test_a_job_of_two_pods_runs_to_its_end(cluster: Site) -> None:
    cluster.create(job(cluster, "two", "echo rank $JOB_COMPLETION_INDEX of $(hostname)", nodes=2))
    ended = cluster.wait("jobs", "two", finished)
    assert "CompletionsReached" == condition(ended, "Complete")["reason"]
    assert (2, "0,1") == (ended["status"]["succeeded"], ended["status"]["completedIndexes"])
    pods = pods_of(cluster, "two")
    assert ["Succeeded"] * 2 == [each["status"]["phase"] for each in pods]
    assert ["rank 0 of two-0\n", "rank 1 of two-1\n"] == [
        cluster.log(each["metadata"]["name"]) for each in pods
    ]
    assert "Completed: Job completed" in cluster.events("two")


def test_an_exit_code_ends_the_job_and_its_other_pod(cluster: Site) -> None:
    script = f"test $JOB_COMPLETION_INDEX = 1 && exit 3; {WAITS}"
    cluster.create(job(cluster, "three", script, nodes=2, podFailurePolicy=FAIL_JOB))
    ended = cluster.wait("jobs", "three", finished)
    reason, message = failure(ended)
    assert "PodFailurePolicy" == reason
    assert "failed with exit code 3 matching FailJob rule at index 1" in message
    assert 2 == ended["status"]["failed"]
    # The other one may be gone.
    code = state(pods_of(cluster, "three")[-1])["terminated"]
    assert (3, "Error") == (code["exitCode"], code["reason"])


def test_without_a_policy_it_is_the_limit(cluster: Site) -> None:
    cluster.create(job(cluster, "limit", "exit 3"))
    ended = cluster.wait("jobs", "limit", finished)
    assert ("BackoffLimitExceeded", "Job has reached the specified backoff limit") == failure(ended)
    assert "FailureTarget" in [each["type"] for each in ended["status"]["conditions"]]


def test_memory_is_held_by_the_kernel(cluster: Site) -> None:
    # Not the first process, which goes on.
    script = "python3 -c 'x = bytearray(200_000_000)'; echo $?; exit 0"
    cluster.create(job(cluster, "large", script))
    cluster.wait("jobs", "large", finished)
    ended = state(pods_of(cluster, "large")[0])["terminated"]
    assert "OOMKilled" == ended["reason"]
    assert ended["exitCode"] in (0, 137)


def test_a_pod_has_its_time(cluster: Site) -> None:
    cluster.create(job(cluster, "late", WAITS, pod={"activeDeadlineSeconds": 4}))
    cluster.wait("jobs", "late", finished)
    pod = pods_of(cluster, "late")[0]
    assert ("Failed", "DeadlineExceeded") == (pod["status"]["phase"], pod["status"]["reason"])
    assert state(pod)["terminated"]["exitCode"] in (9, 137)


def test_a_job_has_its_time(cluster: Site) -> None:
    cluster.create(job(cluster, "late", WAITS, activeDeadlineSeconds=2))
    ended = cluster.wait("jobs", "late", finished)
    assert ("DeadlineExceeded", "Job was active longer than specified deadline") == failure(ended)
    cluster.wait("jobs", "late", lambda _: not pods_of(cluster, "late"), "its pods are gone")


def test_a_job_goes_when_its_time_has_passed(cluster: Site) -> None:
    cluster.create(job(cluster, "short", "true", ttlSecondsAfterFinished=0))
    cluster.wait_gone("jobs", "short")
    assert [] == pods_of(cluster, "short")


# What is waited for


@pytest.mark.parametrize(
    ("image", "reasons", "says"),
    [
        ("registry.invalid/x:1", ("ErrImagePull", "ImagePullBackOff"), "failed to pull"),
        ("NOT/valid::x", ("InvalidImageName",), "couldn't parse image name"),
    ],
    ids=("registry", "name"),
)
def test_images_that_cannot_be_had(cluster: Site, image: str, reasons: tuple[str, ...], says: str) -> None:
    main = container(cluster, "true", image=image)
    cluster.create(job(cluster, "image", "", pod={"containers": [main]}))
    pod = the_pod(cluster, "image")["metadata"]["name"]
    told = cluster.wait("pods", pod, lambda each: waiting(each) in reasons, "its image is missed")
    assert says in state(told)["waiting"]["message"]
    cluster.wait("pods", pod, lambda _: any(says in each for each in cluster.events(pod)), "it is told")
    assert not finished(cluster.get("jobs", "image"))


def test_a_secret_that_is_not_there(cluster: Site) -> None:
    main = container(cluster, "true", envFrom=[{"secretRef": {"name": "none"}}])
    cluster.create(job(cluster, "secret", "", pod={"containers": [main]}))
    pod = the_pod(cluster, "secret")["metadata"]["name"]
    told = cluster.wait("pods", pod, lambda each: waiting(each) == "CreateContainerConfigError")
    assert 'secret "none" not found' == state(told)["waiting"]["message"]
    assert 'Failed: Error: secret "none" not found' in cluster.events(pod)


def test_no_program(cluster: Site) -> None:
    main = container(cluster, "", command=["/no/such/program"])
    cluster.create(job(cluster, "program", "", pod={"containers": [main]}))
    cluster.wait("jobs", "program", finished)
    ended = state(pods_of(cluster, "program")[0])["terminated"]
    assert (128, "StartError") == (ended["exitCode"], ended["reason"])
    assert 'exec: "/no/such/program"' in ended["message"]


@pytest.mark.parametrize(
    ("pod", "says"),
    [
        ({"nodeSelector": {"nobody": "has"}}, "didn't match Pod's node affinity/selector"),
        ({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "none"}}]}, '"none" not found'),
        ({"cpu": "1000"}, "Insufficient cpu"),
    ],
    ids=("selector", "claim", "cpu"),
)
def test_no_node(cluster: Site, pod: Obj, says: str) -> None:
    limits = {"cpu": pod.pop("cpu", "100m"), "memory": "64Mi"}
    main = container(cluster, "true", resources={"limits": limits})
    cluster.create(job(cluster, "nowhere", "", pod={"containers": [main], **pod}))
    name = the_pod(cluster, "nowhere")["metadata"]["name"]
    told = cluster.wait(
        "pods", name, lambda each: condition(each, "PodScheduled").get("reason") == "Unschedulable"
    )
    message = condition(told, "PodScheduled")["message"]
    assert says in message
    assert message.startswith(f"0/{len(cluster.nodes())} nodes are available: ")
    cluster.wait("pods", name, lambda _: f"FailedScheduling: {message}" in cluster.events(name), "it is told")


def test_what_is_not_secure_is_not_let_in(cluster: Site) -> None:
    main = container(cluster, "true", securityContext={})
    cluster.create(job(cluster, "unsafe", "", pod={"containers": [main]}))
    cluster.wait(
        "jobs",
        "unsafe",
        lambda _: any('violates PodSecurity "restricted' in each for each in cluster.events("unsafe")),
    )
    assert [] == pods_of(cluster, "unsafe")


def test_root_is_refused(cluster: Site) -> None:
    security = {name: value for name, value in RESTRICTED.items() if name != "runAsUser"}
    cluster.create(
        job(cluster, "root", "", pod={"containers": [container(cluster, "true", securityContext=security)]})
    )
    pod = the_pod(cluster, "root")["metadata"]["name"]
    told = cluster.wait("pods", pod, lambda each: waiting(each) == "CreateContainerConfigError")
    assert "image will run as root" in state(told)["waiting"]["message"]


def test_a_quota(cluster: Site) -> None:
    cluster.create(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "q"},
            "spec": {"hard": {"limits.memory": "32Mi"}},
        }
    )
    cluster.wait("resourcequotas", "q", lambda each: part(each, "status", "hard"), "it is counted")
    cluster.create(job(cluster, "over", "true"))
    says = (
        "exceeded quota: q, requested: limits.memory=64Mi, used: limits.memory=0, limited: limits.memory=32Mi"
    )
    cluster.wait("jobs", "over", lambda _: any(says in each for each in cluster.events("over")), "it is told")


def test_a_suspended_job_waits_and_begins(cluster: Site) -> None:
    cluster.create(job(cluster, "held", "true", suspend=True))
    cluster.wait("jobs", "held", lambda each: condition(each, "Suspended").get("status") == "True")
    assert [] == pods_of(cluster, "held")
    assert "startTime" not in cluster.get("jobs", "held")["status"]
    cluster.patch("jobs", "held", {"spec": {"suspend": False}}).granted  # noqa: B018
    assert "Complete" == cluster.wait("jobs", "held", finished)["status"]["conditions"][-1]["type"]


# What others do


def test_a_pod_that_is_deleted(cluster: Site) -> None:
    cluster.create(job(cluster, "gone", WAITS, podFailurePolicy=FAIL_JOB))
    pod = running(cluster, "gone")
    cluster.delete("pods", pod["metadata"]["name"]).granted  # noqa: B018
    ended = cluster.wait("jobs", "gone", finished)
    assert "exit code 9" in failure(ended)[1]
    cluster.wait_gone("pods", pod["metadata"]["name"])


def test_a_job_that_is_deleted_takes_its_pods_with_it(cluster: Site) -> None:
    made = cluster.create(job(cluster, "gone", "trap '' TERM; sleep 60"))
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "gone", "uid": made["metadata"]["uid"]}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "ownerReferences": [owner]}}
    cluster.create(secret)
    pod = running(cluster, "gone")
    cluster.delete("jobs", "gone").granted  # noqa: B018
    assert cluster.find("jobs", "gone") is None
    cluster.wait(
        "pods", pod["metadata"]["name"], lambda each: "deletionTimestamp" in each["metadata"], "it is to go"
    )
    cluster.wait_gone("pods", pod["metadata"]["name"])
    cluster.wait_gone("secrets", "s")


def test_in_the_foreground_the_job_goes_last(cluster: Site) -> None:
    cluster.create(job(cluster, "last", WAITS))
    pod = running(cluster, "last")
    cluster.delete("jobs", "last", propagationPolicy="Foreground").granted  # noqa: B018
    cluster.wait_gone("jobs", "last")
    assert cluster.find("pods", pod["metadata"]["name"]) is None


def test_unless_it_is_said_a_job_leaves_its_pods(cluster: Site) -> None:
    cluster.create(job(cluster, "left", WAITS))
    pod = running(cluster, "left")
    cluster.line.ask("DELETE", f"/apis/batch/v1/namespaces/{cluster.namespace}/jobs/left").granted  # noqa: B018
    cluster.wait_gone("jobs", "left")
    kept = cluster.wait(
        "pods", pod["metadata"]["name"], lambda each: not each["metadata"].get("ownerReferences")
    )
    assert "running" in state(kept)


def test_a_node_that_is_drained(cluster: Site) -> None:
    cluster.create(job(cluster, "drained", WAITS, podFailurePolicy=FAIL_JOB))
    pod = running(cluster, "drained")
    cluster.drain(pod["spec"]["nodeName"])
    reason, message = failure(cluster.wait("jobs", "drained", finished))
    assert "PodFailurePolicy" == reason
    assert "has condition DisruptionTarget matching FailJob rule at index 0" in message


def test_what_runs_goes_on_while_the_server_is_away(cluster: Site) -> None:
    script = "sleep 1; echo done > /volume/done"
    mounts = [{"name": "volume", "mountPath": "/volume"}]
    volumes = [volume(cluster)]
    cluster.folder.chmod(0o777)
    main = container(cluster, script, volumeMounts=mounts)
    cluster.create(job(cluster, "alone", "", pod={"containers": [main], "volumes": volumes}))
    running(cluster, "alone")
    done = cluster.folder / "done"
    with cluster.stopped():
        with pytest.raises(OSError, match=r"refused|reset"):
            cluster.get("jobs", "alone")
        wait_until(done.exists, "it is done", 30)
    assert "Complete" == cluster.wait("jobs", "alone", finished)["status"]["conditions"][-1]["type"]


def test_pods_are_removed_with_their_processes(cluster: Site) -> None:
    mark = f"pol-mark-{os.getpid()}-{cluster.namespace}"
    cluster.create(job(cluster, "marked", f"trap '' TERM; : {mark}; sleep 100 & wait; sleep 100"))
    pod = running(cluster, "marked")
    cluster.delete("pods", pod["metadata"]["name"], gracePeriodSeconds=0)
    cluster.delete("jobs", "marked")
    cluster.wait_gone("pods", pod["metadata"]["name"])
    wait_until(lambda: not _processes(mark), "its processes are gone", 30)


def _processes(mark: str) -> list[int]:
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
