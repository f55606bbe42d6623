"""Objects against the published schemas of Kubernetes, as the package ``kubernetes-validate`` holds them.

Its own function reads two megabytes for each object; here they are read once.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry, Resource

from support.kubernetes.kinds import VERSION, Kind, Obj, is_obj, part
from support.kubernetes.refusals import bad_request

_SCHEMAS = f"kubernetes-json-schema/v{VERSION}.0-local-strict"
_MOST = 10
"""So many complaints are told."""


def check(kind: Kind, obj: Obj) -> None:
    """Refuse what the schema does not have.

    Raises:
        Refusal: fields that there are not, or values of another type.
    """
    if not kind.checked:
        return
    if errors := [_said(each) for each in _errors(kind, obj)]:
        told = ", ".join(sorted(errors)[:_MOST])
        raise bad_request(f"{kind.name} in version {kind.version!r} cannot be handled: {told}")


def wrong(kind: Kind, obj: Obj) -> list[str]:
    """What is wrong with an object, in words."""
    return sorted(_said(each) for each in _errors(kind, obj)) if kind.checked else []


def _errors(kind: Kind, obj: Obj) -> Iterator[ValidationError]:
    validator: Any = _validator(kind)
    yield from validator.iter_errors(obj)


def _said(error: ValidationError) -> str:
    at = ".".join(str(each) for each in error.absolute_path)
    if error.validator == "additionalProperties":
        schema: Any = error.schema
        instance: Any = error.instance
        fields = sorted(set(instance) - set(schema["properties"]))
        at = f"{at}." if at else ""
        return "strict decoding error: " + ", ".join(f'unknown field "{at}{name}"' for name in fields)
    if error.validator == "required":
        return f"{at}: {error.message}"
    return f"{at}: json: cannot unmarshal: {error.message[:200]}"


@functools.cache
def _validator(kind: Kind) -> Draft202012Validator:
    name = f"{kind.name.lower()}-{kind.group.partition('.')[0]}-{kind.version}".replace("--", "-")
    return Draft202012Validator(_read(f"{name}.json"), registry=_registry())


@functools.cache
def _registry() -> Registry[Any]:
    empty: Registry[Any] = Registry()
    return Resource.from_contents(definitions()) @ empty


@functools.cache
def definitions() -> Any:
    """All of them."""
    return _read("_definitions.json")


def _read(name: str) -> Any:
    return json.loads(importlib.resources.files("kubernetes_validate").joinpath(_SCHEMAS, name).read_text())


# What a patch has to know of lists


@functools.cache
def schema_of(kind: Kind) -> Any:
    """The schema of a kind, or an empty one."""
    return _validator(kind).schema if kind.checked else {}


def field_of(schema: Any, name: str) -> Any:
    """The schema of a field of an object that has this one."""
    found = resolved(schema)
    return found.get("properties", {}).get(name) or part(found, "additionalProperties")


def resolved(schema: Any) -> Any:
    """What a schema refers to."""
    while is_obj(schema) and "$ref" in schema:
        schema = definitions()["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema if is_obj(schema) else Obj()


def merge_key(schema: Any) -> str:
    """By which field entries of a list are told apart in a patch; empty where a list is replaced."""
    return str(schema.get("x-kubernetes-patch-merge-key", "")) if _merges(schema) else ""


def merges_values(schema: Any) -> bool:
    """Plain values of a list are added by a patch."""
    return _merges(schema) and not merge_key(schema)


def _merges(schema: Any) -> bool:
    return "merge" in str(schema.get("x-kubernetes-patch-strategy", "")).split(",")
