"""The pods of a Job, as its controller makes them."""

from __future__ import annotations

import copy

from support.kubernetes.kinds import Obj, list_of, part

TRACKING = "batch.kubernetes.io/job-tracking"
"""The finalizer of pods that are not counted yet."""
INDEX = "batch.kubernetes.io/job-completion-index"


def new(job: Obj, index: int | None) -> Obj:
    """One of them; ``None`` where they have no index."""
    template = copy.deepcopy(job["spec"]["template"])
    meta, spec = part(template, "metadata"), template["spec"]
    name = job["metadata"]["name"]
    labels, annotations = dict(part(meta, "labels")), dict(part(meta, "annotations"))
    if index is not None:
        labels[INDEX] = annotations[INDEX] = str(index)
        spec.setdefault("hostname", f"{name}-{index}")
        for container in [*list_of(spec, "initContainers"), *spec["containers"]]:
            _tell_index(container)
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": name,
        "uid": job["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
    fresh = {
        "generateName": f"{name}-" if index is None else f"{name}-{index}-",
        "namespace": job["metadata"]["namespace"],
        "labels": labels,
        "ownerReferences": [owner],
        "finalizers": [TRACKING, *list_of(meta, "finalizers")],
    }
    if annotations:
        fresh["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": fresh, "spec": spec}


def _tell_index(container: Obj) -> None:
    rows = container.setdefault("env", [])
    if not any(each["name"] == "JOB_COMPLETION_INDEX" for each in rows):
        field = {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}
        rows.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": field}})


def index_of(pod: Obj) -> int | None:
    """The index of a pod."""
    text = part(pod["metadata"], "annotations").get(INDEX)
    return None if text is None else int(text)


def shown(indexes: set[int]) -> str:
    """Indexes as a Job has them: ``0-2,5``."""
    runs: list[list[int]] = []
    for each in sorted(indexes):
        if runs and runs[-1][1] == each - 1:
            runs[-1][1] = each
        else:
            runs.append([each, each])
    return ",".join(str(first) if first == last else _run(first, last) for first, last in runs)


def _run(first: int, last: int) -> str:
    return f"{first},{last}" if last == first + 1 else f"{first}-{last}"


def read(text: str) -> set[int]:
    """The same, read."""
    found: set[int] = set()
    for each in filter(None, text.split(",")):
        first, _, last = each.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found
