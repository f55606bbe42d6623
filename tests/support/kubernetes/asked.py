"""What a request asks for, by its path; and what is told of what there is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from support.kubernetes.kinds import VERSION, Kind, Obj
from support.kubernetes.refusals import Refusal, not_served

_MAJOR, _MINOR = VERSION.split(".")


@dataclass(frozen=True)
class Asked:
    """A request for objects."""

    verb: str
    kind: Kind
    namespace: str
    name: str
    sub: str


def asked_by(method: str, path: Sequence[str], query: Mapping[str, str], kinds: Sequence[Kind]) -> Asked:
    """What is asked.

    Raises:
        Refusal: there is nothing of that sort.
    """
    group, version, rest = _group(path)
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    if not rest or len(rest) > 3:
        raise not_served()
    plural, name, sub = [*rest, "", ""][:3]
    kind = next(
        (each for each in kinds if (each.group, each.version, each.plural) == (group, version, plural)), None
    )
    if kind is None or (sub and sub not in kind.subresources) or (namespace and not kind.namespaced):
        raise not_served()
    verb = _verb(method, name, sub, watches=query.get("watch") in ("true", "1"))
    if verb not in kind.verbs or (kind.namespaced and not namespace and (name or verb == "create")):
        raise Refusal(
            405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
        )
    return Asked(verb, kind, namespace, name, sub)


def _group(path: Sequence[str]) -> tuple[str, str, Sequence[str]]:
    if len(path) > 2 and path[0] == "api":
        return "", path[1], path[2:]
    if len(path) > 3 and path[0] == "apis":
        return path[1], path[2], path[3:]
    raise not_served()


def _verb(method: str, name: str, sub: str, *, watches: bool) -> str:
    if method == "GET" and watches and not sub:
        return "watch"
    one = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    every = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
    return (one if name else every).get(method, "")


def discovery(path: Sequence[str], kinds: Sequence[Kind]) -> Obj | None:
    """What is told of the server and of what it serves; None where objects are asked for."""
    match path:
        case ["version"]:
            return {
                "major": _MAJOR,
                "minor": _MINOR,
                "gitVersion": f"v{VERSION}.0",
                "platform": "linux/amd64",
            }
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["api", version]:
            return _resources("", version, kinds)
        case ["apis"]:
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": _groups(kinds)}
        case ["apis", group]:
            return next((each for each in _groups(kinds) if each["name"] == group), None)
        case ["apis", group, version]:
            return _resources(group, version, kinds)
        case _:
            return None


def _groups(kinds: Sequence[Kind]) -> list[Obj]:
    found = dict.fromkeys((each.group, each.version) for each in kinds if each.group)
    return [
        {
            "kind": "APIGroup",
            "apiVersion": "v1",
            "name": group,
            "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
            "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version},
        }
        for group, version in found
    ]


def _resources(group: str, version: str, kinds: Sequence[Kind]) -> Obj:
    found = [each for each in kinds if (each.group, each.version) == (group, version)]
    if not found:
        raise not_served()
    rows = [
        {
            "name": f"{each.plural}/{sub}" if sub else each.plural,
            "singularName": each.name.lower(),
            "namespaced": each.namespaced,
            "kind": each.name,
            "verbs": ["get", "patch", "update"] if sub else list(each.verbs),
        }
        for each in found
        for sub in ("", *each.subresources)
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": rows,
    }
