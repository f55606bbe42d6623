"""The variables of a container, and the words of its command in which they are written."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from math import ceil
from typing import Any

from support.kubernetes.kinds import CONFIG_MAP, SECRET, Kind, Obj, is_obj, list_of, part
from support.kubernetes.quantities import quantity
from support.kubernetes.store import Store

_NAMED = re.compile(r"\$\$|\$\(([^()]+)\)")
_ENTRY = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
_ONE = {"cpu": "1", "memory": "1"}


class Missing(Exception):
    """What a container is to be given is not there."""


def expanded(text: str, env: Mapping[str, str]) -> str:
    """``$(NAME)`` stands for a variable, ``$$`` for a dollar."""

    def one(found: re.Match[str]) -> str:
        return "$" if found[0] == "$$" else env.get(found[1], found[0])

    return _NAMED.sub(one, text)


def environment(store: Store, pod: Obj, container: Obj, own: Mapping[str, str]) -> dict[str, str]:
    """Variables of a container, whose ``own`` come first.

    Raises:
        Missing: a secret or something else that it is to be given.
    """
    env = dict(own)
    namespace = pod["metadata"]["namespace"]
    for row in list_of(container, "envFrom"):
        for kind, ref in ((SECRET, row.get("secretRef")), (CONFIG_MAP, row.get("configMapRef"))):
            if ref:
                given = values(store, kind, namespace, ref["name"], optional=bool(ref.get("optional")))
                env |= {row.get("prefix", "") + name: _text(value) for name, value in given.items()}
    for row in list_of(container, "env"):
        if "valueFrom" in row:
            value = _from(store, pod, container, row["valueFrom"])
            if value is not None:
                env[row["name"]] = value
        else:
            env[row["name"]] = expanded(row.get("value", ""), env)
    return env


def values(
    store: Store, kind: Kind, namespace: str, name: str, *, optional: bool = False
) -> dict[str, bytes]:
    """What is in a secret or in a map of configuration.

    Raises:
        Missing: there is none.
    """
    found = store.find(kind, namespace, name)
    if found is None:
        if optional:
            return {}
        raise Missing(f'{kind.name.lower()} "{name}" not found')
    data: dict[str, str] = part(found, "data")
    if kind is SECRET:
        return {key: base64.b64decode(value) for key, value in data.items()}
    return {key: value.encode() for key, value in data.items()}


def _from(store: Store, pod: Obj, container: Obj, source: Obj) -> str | None:
    if field := source.get("fieldRef"):
        return field_of(pod, field["fieldPath"])
    if resource := source.get("resourceFieldRef"):
        return _resource(container, resource["resource"], resource.get("divisor", "0"))
    for kind, ref in ((SECRET, source.get("secretKeyRef")), (CONFIG_MAP, source.get("configMapKeyRef"))):
        if not ref:
            continue
        namespace, optional = pod["metadata"]["namespace"], bool(ref.get("optional"))
        given = values(store, kind, namespace, ref["name"], optional=optional)
        if ref["key"] in given:
            return _text(given[ref["key"]])
        if not optional:
            raise Missing(f"couldn't find key {ref['key']} in {kind.name} {namespace}/{ref['name']}")
    return None


def field_of(pod: Obj, path: str) -> str:
    """A field of a pod that containers may be told."""
    if found := _ENTRY.fullmatch(path):
        return str(part(pod, "metadata", found[1]).get(found[2], ""))
    value: Any = pod
    for name in path.split("."):
        value = value.get(name, "") if is_obj(value) else ""
    if is_obj(value):
        return "\n".join(f'{name}="{text}"' for name, text in sorted(value.items()))
    return str(value)


def _resource(container: Obj, name: str, divisor: str) -> str:
    which, _, what = name.partition(".")
    found = part(container, "resources", which).get(what, _ONE.get(what, "0"))
    unit = quantity(divisor) or quantity("1")
    return str(ceil(quantity(found) / unit))


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
