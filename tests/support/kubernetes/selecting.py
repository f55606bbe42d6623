"""Selectors of labels and of fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from support.kubernetes.kinds import Obj, is_obj, list_of, part
from support.kubernetes.refusals import bad_request

Test = Callable[[Obj], bool]
_SET = re.compile(r"\s*([^\s!=,()]+)\s+(in|notin)\s*\(([^()]*)\)\s*")
_PLAIN = re.compile(r"\s*(!?)\s*([^\s!=,()]+)\s*(?:(==|=|!=)\s*([^\s!=,()]*))?\s*")
_FIELDS = frozenset(
    {
        *("metadata.name", "metadata.namespace", "spec.nodeName", "spec.restartPolicy", "status.phase"),
        *("spec.schedulerName", "spec.serviceAccountName", "status.podIP", "status.successful", "type"),
        *("involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid"),
        *("reason", "reportingComponent", "source", "spec.unschedulable"),
    }
)
"""Those that some kind can be selected by."""


def selector(labels: str, fields: str) -> Test:
    """What both of them let through.

    Raises:
        Refusal: one of them cannot be understood.
    """
    tests = [*_labels(labels), *_fields(fields)]
    return lambda obj: all(each(obj) for each in tests)


def matches(given: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """A selector that is written in an object."""
    selecting = given or {}
    wanted: Mapping[str, str] = part(selecting, "matchLabels")
    rows = list_of(selecting, "matchExpressions")
    return all(labels.get(name) == value for name, value in wanted.items()) and all(
        _expression(row["operator"], labels.get(row["key"]), list_of(row, "values")) for row in rows
    )


def node_matches(terms: Any, node: Obj) -> bool:
    """One of the terms of a node selector lets a node through."""
    labels = part(node["metadata"], "labels")
    return any(
        all(
            _expression(row["operator"], labels.get(row["key"]), list_of(row, "values"))
            for row in list_of(term, "matchExpressions")
        )
        for term in terms
    )


def _expression(operator: str, value: str | None, values: Any) -> bool:
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and int(value) > int(values[0])
        case _:
            return value is not None and int(value) < int(values[0])


def _labels(text: str) -> list[Test]:
    tests: list[Test] = []
    rest = text
    while rest.strip():
        found = _SET.match(rest) or _PLAIN.match(rest)
        if found is None or (rest[found.end() :] and rest[found.end()] != ","):
            raise bad_request(f"unable to parse requirement: found {rest!r}")
        tests.append(_of_set(*found.groups()) if found.re is _SET else _of_one(*found.groups()))
        rest = rest[found.end() + 1 :]
    return tests


def _of_set(name: str, operator: str, values: str) -> Test:
    wanted = {each.strip() for each in values.split(",")}
    return lambda obj: (_label(obj, name) in wanted) == (operator == "in")


def _of_one(no: str, name: str, operator: str | None, value: str | None) -> Test:
    if operator is None:
        return lambda obj: (_label(obj, name) is None) == bool(no)
    return lambda obj: (_label(obj, name) == value) == (operator != "!=")


def _label(obj: Obj, name: str) -> str | None:
    found: str | None = part(obj["metadata"], "labels").get(name)
    return found


def _fields(text: str) -> list[Test]:
    tests: list[Test] = []
    for each in filter(None, text.split(",")):
        found = re.fullmatch(r"([^!=]+)(==|=|!=)(.*)", each.strip())
        if found is None:
            raise bad_request(f"invalid field selector: {each!r}")
        if found[1] not in _FIELDS:
            raise bad_request(f'field label not supported: "{found[1]}"')
        tests.append(_of_field(found[1], found[2], found[3]))
    return tests


def _of_field(path: str, operator: str, value: str) -> Test:
    return lambda obj: (_at(obj, path) == value) == (operator != "!=")


def _at(obj: Any, path: str) -> str:
    found: Any = obj
    for name in path.split("."):
        found = found.get(name) if is_obj(found) else None
    if isinstance(found, bool):
        return str(found).lower()
    return "" if found is None else str(found)
