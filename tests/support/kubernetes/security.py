"""What namespaces with a standard of pod security let in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from support.kubernetes.kinds import Obj, list_of, part

LABEL = "pod-security.kubernetes.io/enforce"
_ALLOWED_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)


def violations(level: str, spec: Obj) -> list[str]:
    """How a pod does not keep to a standard: ``baseline`` or ``restricted``."""
    found: list[str] = []
    if level in ("baseline", "restricted"):
        found += _baseline(spec)
    if level == "restricted":
        found += _restricted(spec)
    return found


def _containers(spec: Obj) -> list[Obj]:
    return [*list_of(spec, "initContainers"), *spec["containers"]]


def _security(container: Obj) -> dict[str, Any]:
    return part(container, "securityContext")


def _named(containers: list[Obj]) -> str:
    names = ", ".join(f'"{each["name"]}"' for each in containers)
    return f"container{'s' if len(containers) > 1 else ''} {names}"


def _baseline(spec: Obj) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name):
            yield f"host namespaces ({name}=true)"
    if bad := [each for each in _containers(spec) if _security(each).get("privileged")]:
        yield f"privileged ({_named(bad)} must not set securityContext.privileged=true)"
    if bad := [each["name"] for each in list_of(spec, "volumes") if each.get("hostPath")]:
        yield f'hostPath volumes (volume "{bad[0]}")'


def _restricted(spec: Obj) -> Iterator[str]:
    containers = _containers(spec)
    pod: dict[str, Any] = part(spec, "securityContext")
    if bad := [each for each in containers if _security(each).get("allowPrivilegeEscalation") is not False]:
        must = "must set securityContext.allowPrivilegeEscalation=false"
        yield f"allowPrivilegeEscalation != false ({_named(bad)} {must})"
    if bad := [each for each in containers if "ALL" not in list_of(_security(each), "capabilities", "drop")]:
        yield f'unrestricted capabilities ({_named(bad)} must set securityContext.capabilities.drop=["ALL"])'
    if bad := [
        each["name"]
        for each in list_of(spec, "volumes")
        if not _ALLOWED_VOLUMES & {name for name in each if each[name] is not None}
    ]:
        yield f'restricted volume types (volume "{bad[0]}" uses a restricted volume type)'
    own = [each for each in containers if not _security(each).get("runAsNonRoot", pod.get("runAsNonRoot"))]
    if own:
        yield f"runAsNonRoot != true (pod or {_named(own)} must set securityContext.runAsNonRoot=true)"
    if pod.get("runAsUser") == 0 or any(_security(each).get("runAsUser") == 0 for each in containers):
        yield "runAsUser=0 (pod must not set runAsUser=0)"
    kept = ("RuntimeDefault", "Localhost")
    wild = [
        each
        for each in containers
        if (_security(each).get("seccompProfile") or part(pod, "seccompProfile")).get("type") not in kept
    ]
    if wild:
        yield (
            f"seccompProfile (pod or {_named(wild)} must set securityContext.seccompProfile.type to "
            '"RuntimeDefault" or "Localhost")'
        )
