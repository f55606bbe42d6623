"""What the server writes into an object where its author said nothing."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from support.kubernetes.kinds import (
    CLAIM,
    DEPLOYMENT,
    JOB,
    NAMESPACE,
    POD,
    SECRET,
    SERVICE,
    VOLUME,
    Kind,
    Obj,
    is_obj,
    list_of,
    part,
)

TOLERATION_S = 300
"""So long a pod stays at a node that is not heard of."""
_UID_LABEL = "batch.kubernetes.io/controller-uid"


def defaulted(kind: Kind, obj: Obj) -> None:
    """Fill in what is not said."""
    if (fill := _FILLS.get(kind)) is not None:
        fill(obj)


def _pod(obj: Obj) -> None:
    pod_spec(obj["spec"])
    _fill(obj["spec"], priority=0, enableServiceLinks=True, preemptionPolicy="PreemptLowerPriority")
    obj["status"] = {"phase": "Pending", "qosClass": _quality(obj["spec"])}


def pod_spec(spec: Obj) -> None:
    """Of a pod or a template of pods."""
    _fill(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        securityContext={},
    )
    for container in [*list_of(spec, "initContainers"), *spec["containers"]]:
        _container(container)
    for volume in list_of(spec, "volumes"):
        for name in ("secret", "configMap", "downwardAPI", "projected"):
            if is_obj(volume.get(name)):
                volume[name].setdefault("defaultMode", 0o644)
        if is_obj(volume.get("hostPath")):
            volume["hostPath"].setdefault("type", "")


def _container(container: Obj) -> None:
    image: str = container.get("image", "")
    newest = image.endswith(":latest") or (":" not in image.rpartition("/")[2] and "@" not in image)
    _fill(
        container,
        resources={},
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        imagePullPolicy="Always" if newest else "IfNotPresent",
    )
    resources = container["resources"]
    if resources.get("limits"):
        # What may be had at most is what is asked for.
        resources["requests"] = {**resources["limits"], **part(resources, "requests")}
    for row in list_of(container, "env"):
        if field := part(row, "valueFrom").get("fieldRef"):
            field.setdefault("apiVersion", "v1")
    for row in list_of(container, "ports"):
        row.setdefault("protocol", "TCP")


def _quality(spec: Obj) -> str:
    containers = [*list_of(spec, "initContainers"), *spec["containers"]]
    resources = [part(each, "resources") for each in containers]
    if not any(each.get("requests") or each.get("limits") for each in resources):
        return "BestEffort"
    exact = all(
        {"cpu", "memory"} <= part(each, "limits").keys() and each["limits"] == each.get("requests")
        for each in resources
    )
    return "Guaranteed" if exact else "Burstable"


def _job(obj: Obj) -> None:
    spec, meta = obj["spec"], obj["metadata"]
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    _fill(
        spec,
        parallelism=1,
        backoffLimit=2147483647 if "backoffLimitPerIndex" in spec else 6,
        completionMode="NonIndexed",
        suspend=False,
        podReplacementPolicy="Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed",
        manualSelector=False,
    )
    for rule in list_of(spec, "podFailurePolicy", "rules"):
        for pattern in list_of(rule, "onPodConditions"):
            pattern.setdefault("status", "True")
    pod_spec(spec["template"]["spec"])
    obj["status"] = {}
    if spec["manualSelector"]:
        return
    uid, name = meta["uid"], meta["name"]
    labels = {
        _UID_LABEL: uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    inner = spec["template"].setdefault("metadata", {})
    inner["labels"] = {**part(inner, "labels"), **labels}
    inner.setdefault("creationTimestamp", None)
    spec["selector"] = {"matchLabels": {_UID_LABEL: uid}}
    # So are all that the server keeps.
    meta["labels"] = {**(inner["labels"] if not meta.get("labels") else {}), **part(meta, "labels")}


def _service(obj: Obj) -> None:
    spec = obj["spec"]
    _fill(spec, type="ClusterIP", sessionAffinity="None", internalTrafficPolicy="Cluster")
    _fill(spec, clusterIP="10.96.0.10", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    for row in list_of(spec, "ports"):
        _fill(row, protocol="TCP", targetPort=row["port"])
    obj["status"] = {"loadBalancer": {}}


def _secret(obj: Obj) -> None:
    obj.setdefault("type", "Opaque")
    plain: dict[str, str] = obj.pop("stringData", None) or {}
    for name, text in plain.items():
        obj.setdefault("data", {})[name] = base64.b64encode(text.encode()).decode()


def _claim(obj: Obj) -> None:
    obj["spec"].setdefault("volumeMode", "Filesystem")
    obj["status"] = {"phase": "Pending"}


def _volume(obj: Obj) -> None:
    _fill(obj["spec"], volumeMode="Filesystem", persistentVolumeReclaimPolicy="Retain")
    obj["status"] = {"phase": "Available"}


def _namespace(obj: Obj) -> None:
    name = obj["metadata"]["name"]
    obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
    obj["metadata"]["finalizers"] = ["kubernetes"]
    obj["status"] = {"phase": "Active"}


def _deployment(obj: Obj) -> None:
    _fill(obj["spec"], replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    pod_spec(obj["spec"]["template"]["spec"])
    obj["status"] = {}


def _fill(obj: Obj, **values: Any) -> None:
    for name, value in values.items():
        if obj.get(name) is None:
            obj[name] = value


_FILLS: dict[Kind, Callable[[Obj], None]] = {
    POD: _pod,
    JOB: _job,
    SERVICE: _service,
    SECRET: _secret,
    CLAIM: _claim,
    VOLUME: _volume,
    NAMESPACE: _namespace,
    DEPLOYMENT: _deployment,
}
