"""Jobs as tests hand them to a cluster by hand, fit for a namespace with the standard ``restricted``."""

from __future__ import annotations

from typing import Any

from support.kubernetes.kinds import Obj, list_of
from support.kubernetes.sites import Site
from support.kubernetes.store import condition

INDEX = "batch.kubernetes.io/job-completion-index"
USER = 1234
RESTRICTED: Obj = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def container(cluster: Site, script: str, name: str = "main", **more: Any) -> Obj:
    """A container that runs a script."""
    return {
        "name": name,
        "image": cluster.image,
        "command": ["/bin/sh", "-c", script],
        "securityContext": RESTRICTED,
        "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}},
        **more,
    }


def job(cluster: Site, name: str, script: str, *, nodes: int = 1, pod: Obj | None = None, **more: Any) -> Obj:
    """A Job of so many pods, each of which runs a script once.

    Args:
        cluster: where it will be.
        name: of it.
        script: of its container.
        nodes: so many pods.
        pod: what the pods say besides; containers among that take the place of the usual one.
        more: what its spec says besides.
    """
    template: Obj = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 2,
        "automountServiceAccountToken": False,
        "containers": [container(cluster, script)],
        **(pod or {}),
    }
    spec = {
        "completionMode": "Indexed",
        "completions": nodes,
        "parallelism": nodes,
        "backoffLimit": 0,
        **more,
    }
    spec["template"] = {"spec": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}


def finished(obj: Obj) -> bool:
    """A Job is complete, or has failed."""
    return any(condition(obj, each).get("status") == "True" for each in ("Complete", "Failed"))


def failure(obj: Obj) -> tuple[str, str]:
    """Why a Job has failed: the reason and the message."""
    row = condition(obj, "Failed")
    return row["reason"], row["message"]


def pods_of(cluster: Site, name: str) -> list[Obj]:
    """The pods of a Job, by their index."""
    found = cluster.all("pods", labelSelector=f"batch.kubernetes.io/job-name={name}")
    return sorted(found, key=lambda each: int(each["metadata"]["annotations"][INDEX]))


def state(pod: Obj, kind: str = "containerStatuses", number: int = 0) -> Obj:
    """The state of a container of a pod."""
    rows = list_of(pod, "status", kind)
    found: Obj = rows[number]["state"] if len(rows) > number else {}
    return found


def waiting(pod: Obj) -> str:
    """Why the first container of a pod waits."""
    return str(state(pod).get("waiting", {}).get("reason", ""))


def running(cluster: Site, name: str) -> Obj:
    """The only pod of a Job, once its container runs."""
    pod = the_pod(cluster, name)["metadata"]["name"]
    return cluster.wait("pods", pod, lambda each: "running" in state(each), "its container runs")


def volume(cluster: Site) -> Obj:
    """The volume of the namespace, for a pod."""
    return {"name": "volume", "persistentVolumeClaim": {"claimName": cluster.claim}}


def the_pod(cluster: Site, name: str, timeout_s: float = 60.0) -> Obj:
    """The only pod of a Job, as soon as there is one."""
    cluster.wait("jobs", name, lambda _: pods_of(cluster, name), "it has a pod", timeout_s)
    return pods_of(cluster, name)[0]
