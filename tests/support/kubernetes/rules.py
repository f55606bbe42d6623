"""What an object has to be beyond its schema, and what may not be changed of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from support.kubernetes.kinds import JOB, POD, SECRET, SERVICE, Kind, Obj, is_obj, list_of, part
from support.kubernetes.quantities import quantity
from support.kubernetes.refusals import invalid

Cause = tuple[str, str]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_VARIABLE = re.compile(r"[ -<>-~]+")
_PLAIN = "alphanumeric characters, '-', '_' or '.'"
_MOST_ANNOTATIONS = 256 * 1024
_MOST_SECRET = 1024 * 1024
_EVERY_ONE = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"


def check(kind: Kind, obj: Obj) -> None:
    """Refuse what cannot be meant.

    Raises:
        Refusal: all that is wrong with it.
    """
    name = obj["metadata"].get("name") or obj["metadata"].get("generateName") or ""
    if causes := [*_metadata(kind, obj), *_OF_KIND.get(kind, _nothing)(obj)]:
        raise invalid(kind, name, causes)


def check_change(kind: Kind, old: Obj, new: Obj) -> None:
    """Refuse a change of what stays as it is.

    Raises:
        Refusal: it is changed.
    """
    causes: list[Cause] = [
        (path, f"Invalid value: {str(_at(new, path))[:80]}: field is immutable")
        for path in _FIXED.get(kind, ())
        if _at(old, path) != _at(new, path)
    ]
    if kind is POD and _unchangeable(old) != _unchangeable(new):
        causes.append(
            ("spec", "Forbidden: pod updates may not change fields other than `spec.containers[*].image`")
        )
    if kind is SECRET and old.get("immutable") and old.get("data") != new.get("data"):
        causes.append(("data", "Forbidden: field is immutable when `immutable` is set"))
    if kind is JOB and "template" in _changed(old, new) and not _may_be_directed(old):
        causes.append(("spec.template", "Invalid value: field is immutable"))
    if causes:
        raise invalid(kind, new["metadata"]["name"], causes)


_FIXED: dict[Kind, tuple[str, ...]] = {
    JOB: (
        "spec.selector",
        "spec.completionMode",
        "spec.completions",
        "spec.podFailurePolicy",
        "spec.backoffLimitPerIndex",
    ),
    SERVICE: ("spec.clusterIP",),
    SECRET: ("type",),
}


def _changed(old: Obj, new: Obj) -> set[str]:
    return {name for name in {*old["spec"], *new["spec"]} if old["spec"].get(name) != new["spec"].get(name)}


def _may_be_directed(job: Obj) -> bool:
    """Where a Job that has not begun runs may still be said."""
    return bool(job["spec"].get("suspend")) and not part(job, "status").get("startTime")


def _unchangeable(pod: Obj) -> Obj:
    spec = dict(pod["spec"])
    spec["containers"] = [{**each, "image": ""} for each in spec["containers"]]
    for name in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "nodeName"):
        spec.pop(name, None)
    return spec


def _at(obj: Any, path: str) -> Any:
    found: Any = obj
    for name in path.split("."):
        found = found.get(name) if is_obj(found) else None
    return found


# What all have


def _metadata(kind: Kind, obj: Obj) -> Iterator[Cause]:
    meta = obj["metadata"]
    name = meta.get("name") or f"{meta.get('generateName', '')}x"
    if not meta.get("name") and not meta.get("generateName"):
        yield "metadata.name", "Required value: name or generateName is required"
    elif kind is SERVICE and not (_LABEL.fullmatch(name) and len(name) < 64):
        yield (
            "metadata.name",
            f'Invalid value: "{name}": a DNS-1035 label must consist of lower case characters',
        )
    elif not _SUBDOMAIN.fullmatch(name) or len(name) > 253:
        yield "metadata.name", f'Invalid value: "{name}": {_EVERY_ONE}'
    yield from _labels("metadata.labels", part(meta, "labels"))
    annotations = part(meta, "annotations")
    for key in annotations:
        yield from _qualified("metadata.annotations", key)
    if sum(len(key) + len(value) for key, value in annotations.items()) > _MOST_ANNOTATIONS:
        yield "metadata.annotations", f"Too long: may not be more than {_MOST_ANNOTATIONS} bytes"
    for number, row in enumerate(list_of(meta, "ownerReferences")):
        if not row.get("uid"):
            yield f"metadata.ownerReferences[{number}].uid", "Required value: must not be empty"


def _labels(at: str, labels: dict[str, str]) -> Iterator[Cause]:
    for key, value in labels.items():
        yield from _qualified(at, key)
        if len(value) > 63:
            yield at, f'Invalid value: "{value}": must be no more than 63 bytes'
        elif not _VALUE.fullmatch(value):
            yield (
                at,
                f'Invalid value: "{value}": a valid label must be an empty string or consist of {_PLAIN}',
            )


def _qualified(at: str, key: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    if not _QUALIFIED.fullmatch(name) or len(name) > 63 or (slash and not _SUBDOMAIN.fullmatch(prefix)):
        yield at, f'Invalid value: "{key}": name part must consist of alphanumeric characters'


# Pods


def _pod(obj: Obj) -> Iterator[Cause]:
    yield from _pod_spec("spec", obj["spec"])


def _pod_spec(at: str, spec: Obj) -> Iterator[Cause]:
    yield from _volumes(f"{at}.volumes", list_of(spec, "volumes"))
    yield from _containers(at, spec)
    for field in ("hostname", "subdomain"):
        if (value := spec.get(field)) and (not _LABEL.fullmatch(value) or len(value) > 63):
            yield f"{at}.{field}", f'Invalid value: "{value}": a lowercase RFC 1123 label'
    yield from _labels(f"{at}.nodeSelector", part(spec, "nodeSelector"))
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= 2147483647:
        yield f"{at}.activeDeadlineSeconds", f"Invalid value: {deadline}: must be between 1 and 2147483647"


def _volumes(at: str, volumes: list[Obj]) -> Iterator[Cause]:
    names: list[str] = [each["name"] for each in volumes]
    for number, volume in enumerate(volumes):
        name = names[number]
        if not _LABEL.fullmatch(name) or len(name) > 63 or names.count(name) > 1:
            yield f"{at}[{number}].name", f'Invalid value: "{name}"'
        if len([value for value in volume.values() if is_obj(value)]) != 1:
            yield f"{at}[{number}]", "Forbidden: may not specify more than 1 volume type"


def _containers(at: str, spec: Obj) -> Iterator[Cause]:
    volumes: list[str] = [each["name"] for each in list_of(spec, "volumes")]
    names: list[str] = []
    if not spec.get("containers"):
        yield f"{at}.containers", "Required value"
    for field in ("initContainers", "containers"):
        for number, container in enumerate(list_of(spec, field)):
            here = f"{at}.{field}[{number}]"
            yield from _container(here, container, volumes)
            if container["name"] in names:
                yield f"{here}.name", f'Duplicate value: "{container["name"]}"'
            names.append(container["name"])
            if container.get("restartPolicy", "Always") != "Always":
                yield f"{here}.restartPolicy", "Unsupported value"


def _container(at: str, container: Obj, volumes: list[str]) -> Iterator[Cause]:
    if not _LABEL.fullmatch(container["name"]) or len(container["name"]) > 63:
        yield f"{at}.name", f'Invalid value: "{container["name"]}": a lowercase RFC 1123 label'
    if not container.get("image"):
        yield f"{at}.image", "Required value"
    elif container["image"] != container["image"].strip():
        yield (
            f"{at}.image",
            f'Invalid value: "{container["image"]}": must not have leading or trailing whitespace',
        )
    for row in list_of(container, "env"):
        if not _VARIABLE.fullmatch(row["name"]):
            yield f"{at}.env.name", f'Invalid value: "{row["name"]}"'
        if row.get("value") and row.get("valueFrom"):
            yield f"{at}.env.valueFrom", "Invalid value: may not be specified when `value` is not empty"
    paths: list[str] = []
    for number, row in enumerate(list_of(container, "volumeMounts")):
        yield from _mount(f"{at}.volumeMounts[{number}]", row, volumes)
        if row["mountPath"] in paths:
            yield (
                f"{at}.volumeMounts[{number}].mountPath",
                f'Invalid value: "{row["mountPath"]}": must be unique',
            )
        paths.append(row["mountPath"])
    yield from _resources(f"{at}.resources", part(container, "resources"))


def _mount(at: str, row: Obj, volumes: list[str]) -> Iterator[Cause]:
    if row["name"] not in volumes:
        yield f"{at}.name", f'Not found: "{row["name"]}"'
    for field in ("subPath", "subPathExpr"):
        value: str = row.get(field) or ""
        if value.startswith("/"):
            yield f"{at}.{field}", f'Invalid value: "{value}": must be a relative path'
        if ".." in value.split("/"):
            yield f"{at}.{field}", f"Invalid value: \"{value}\": must not contain '..'"
    if row.get("subPath") and row.get("subPathExpr"):
        yield f"{at}.subPathExpr", "Invalid value: subPathExpr and subPath are mutually exclusive"


def _resources(at: str, given: Obj) -> Iterator[Cause]:
    for field in ("limits", "requests"):
        for name, value in part(given, field).items():
            try:
                amount = quantity(value)
            except ValueError as error:
                yield f"{at}.{field}[{name}]", f'Invalid value: "{value}": {error}'
                continue
            limit = part(given, "limits").get(name)
            if amount < 0:
                yield f"{at}.{field}[{name}]", f'Invalid value: "{value}": must be greater than or equal to 0'
            elif field == "requests" and limit is not None and amount > quantity(limit):
                yield (
                    f"{at}.requests",
                    f'Invalid value: "{value}": must be less than or equal to {name} limit of {limit}',
                )
            if "/" in name and limit != value:
                yield (
                    f"{at}.limits[{name}]",
                    "Required value: Limit must be set for non overcommitable resources",
                )


# Others


def _job(obj: Obj) -> Iterator[Cause]:
    spec = obj["spec"]
    template = spec["template"]
    yield from _labels("spec.template.labels", part(template, "metadata", "labels"))
    yield from _pod_spec("spec.template.spec", template["spec"])
    restart = template["spec"].get("restartPolicy", "Always")
    if restart == "Always":
        yield "spec.template.spec.restartPolicy", 'Required value: valid values: "OnFailure", "Never"'
    for name in (
        "parallelism",
        "completions",
        "backoffLimit",
        "activeDeadlineSeconds",
        "ttlSecondsAfterFinished",
    ):
        if (value := spec.get(name)) is not None and value < 0:
            yield f"spec.{name}", f"Invalid value: {value}: must be greater than or equal to 0"
    if spec.get("completionMode") == "Indexed":
        if spec.get("completions") is None:
            yield "spec.completions", "Required value: when completion mode is Indexed"
        name = f"{obj['metadata'].get('name', '')}-{(spec.get('completions') or 1) - 1}"
        if not _LABEL.fullmatch(name) or len(name) > 63:
            yield (
                "metadata.name",
                f'Invalid value: "{name}": will not able to create pod with invalid DNS label',
            )
    elif len(obj["metadata"].get("name") or "") > 63:
        yield "metadata.name", "Invalid value: must be no more than 63 bytes"
    if "podFailurePolicy" in spec:
        yield from _failure_policy(spec, restart)


def _failure_policy(spec: Obj, restart: str) -> Iterator[Cause]:
    if restart != "Never":
        yield (
            "spec.template.spec.restartPolicy",
            'Invalid value: only "Never" is supported when podFailurePolicy is specified',
        )
    if spec.get("podReplacementPolicy", "Failed") != "Failed":
        yield "spec.podReplacementPolicy", 'Unsupported value: supported values: "Failed"'
    names = [
        each["name"]
        for field in ("initContainers", "containers")
        for each in list_of(spec["template"]["spec"], field)
    ]
    for number, rule in enumerate(spec["podFailurePolicy"]["rules"]):
        at = f"spec.podFailurePolicy.rules[{number}]"
        codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
        if bool(codes) == bool(conditions):
            yield at, "Invalid value: specifying one of OnExitCodes and OnPodConditions is required"
        if codes and codes.get("containerName") not in (None, *names):
            yield (
                f"{at}.onExitCodes.containerName",
                "Invalid value: must be one of the container or initContainer names",
            )
        if codes and codes["operator"] == "In" and 0 in codes["values"]:
            yield f"{at}.onExitCodes.values", "Invalid value: 0: must not be 0 for the In operator"
        if codes and codes["values"] != sorted(set(codes["values"])):
            yield f"{at}.onExitCodes.values", "Invalid value: must be ordered and unique"


def _secret(obj: Obj) -> Iterator[Cause]:
    for name in part(obj, "data"):
        if not re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", name):
            yield (
                f"data[{name}]",
                f'Invalid value: "{name}": a valid config key must consist of alphanumeric characters',
            )
    if sum(len(value) * 3 // 4 for value in part(obj, "data").values()) > _MOST_SECRET:
        yield "data", f"Too long: may not be more than {_MOST_SECRET} bytes"


def _service(obj: Obj) -> Iterator[Cause]:
    headless = obj["spec"].get("clusterIP") == "None"
    if not obj["spec"].get("ports") and not headless and obj["spec"].get("type") != "ExternalName":
        yield "spec.ports", "Required value"


def _nothing(_: Obj) -> Iterator[Cause]:
    yield from ()


_OF_KIND: dict[Kind, Callable[[Obj], Iterator[Cause]]] = {
    POD: _pod,
    JOB: _job,
    SECRET: _secret,
    SERVICE: _service,
}
