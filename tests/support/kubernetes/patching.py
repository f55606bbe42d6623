"""Patches of objects: JSON, merge, strategic merge, and what is applied by name of a manager."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from support.kubernetes.kinds import Kind, Obj, is_list, is_obj, list_of
from support.kubernetes.refusals import Refusal, bad_request
from support.kubernetes.schemas import field_of, merge_key, merges_values, resolved, schema_of

APPLY = ("application/apply-patch+yaml", "application/apply-patch+cbor")
_DELETE, _REPLACE = "delete", "replace"


def patched(kind: Kind, obj: Obj, patch: Any, content_type: str) -> Any:
    """A changed copy.

    Raises:
        Refusal: the patch cannot be understood, or does not fit.
    """
    how = content_type.partition(";")[0].strip()
    fresh = copy.deepcopy(obj)
    if how == "application/json-patch+json":
        return _json(fresh, patch)
    if not is_obj(patch):
        raise bad_request("a patch is an object")
    if how == "application/merge-patch+json" or (not kind.checked and how not in APPLY):
        return merged(fresh, patch)
    if how == "application/strategic-merge-patch+json":
        return _strategic(fresh, patch, schema_of(kind))
    if how in APPLY:
        return _strategic(fresh, patch, schema_of(kind))
    raise Refusal(
        415,
        "UnsupportedMediaType",
        f"the body of the request was in an unknown format - accepted media types include: {how}",
    )


def merged(obj: Any, patch: Any) -> Any:
    """By RFC 7386."""
    if not is_obj(patch):
        return patch
    found = obj if is_obj(obj) else Obj()
    for name, value in patch.items():
        if value is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), value)
    return found


# Strategic merge


def _strategic(obj: Any, patch: Any, schema: Any) -> Any:
    if not is_obj(patch):
        return copy.deepcopy(patch)
    how = patch.get("$patch")
    found = obj if is_obj(obj) and how != _REPLACE else Obj()
    if how == _DELETE:
        return {}
    for name, value in patch.items():
        if name == "$patch" or name.startswith(("$setElementOrder/", "$retainKeys")):
            continue
        if name.startswith("$deleteFromPrimitiveList/"):
            of = name.partition("/")[2]
            found[of] = [each for each in list_of(found, of) if each not in value]
            continue
        field = field_of(schema, name)
        if value is None:
            found.pop(name, None)
        elif is_list(value):
            found[name] = _list(list_of(found, name), value, field)
        else:
            found[name] = _strategic(found.get(name), value, field)
    return found


def _list(there: list[Any], patch: list[Any], schema: Any) -> list[Any]:
    if merges_values(schema):
        return [*there, *(each for each in patch if each not in there)]
    if not (name := merge_key(schema)):
        return copy.deepcopy(patch)
    items = resolved(schema).get("items", {})
    found = [] if {"$patch": _REPLACE} in patch else list(there)
    for each in patch:
        if each == {"$patch": _REPLACE}:
            continue
        if name not in each:
            raise bad_request(f"map: {each} does not contain declared merge key: {name}")
        same = [number for number, other in enumerate(found) if other.get(name) == each[name]]
        if each.get("$patch") == _DELETE:
            found = [other for number, other in enumerate(found) if number not in same]
        elif same:
            found[same[0]] = _strategic(found[same[0]], each, items)
        else:
            found.append(_strategic({}, each, items))
    return found


# JSON patch


def _json(obj: Any, patch: Any) -> Any:
    if not is_list(patch):
        raise bad_request("a JSON patch is a list")
    for step in patch:
        obj = _step(obj, step)
    return obj


def _step(obj: Any, step: Any) -> Any:
    does: dict[str, Callable[[Any, str, Any], None]] = {
        "add": _add,
        "replace": _replace,
        "remove": _remove,
        "test": _test,
    }
    try:
        path = [each.replace("~1", "/").replace("~0", "~") for each in step["path"].split("/")[1:]]
        if not path:
            return copy.deepcopy(step["value"])
        at = obj
        for name in path[:-1]:
            at = at[int(name)] if is_list(at) else at[name]
        does[step["op"]](at, path[-1], copy.deepcopy(step.get("value")))
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise Refusal(
            422, "Invalid", f"the server rejected our request due to an error in our request: {error!r}"
        ) from error
    return obj


def _add(at: Any, name: str, value: Any) -> None:
    if is_list(at):
        at.insert(len(at) if name == "-" else int(name), value)
    else:
        at[name] = value


def _replace(at: Any, name: str, value: Any) -> None:
    if is_list(at):
        at[int(name)] = value
    elif name in at:
        at[name] = value
    else:
        raise KeyError(name)


def _remove(at: Any, name: str, _: Any) -> None:
    del at[int(name) if is_list(at) else name]


def _test(at: Any, name: str, value: Any) -> None:
    if (at[int(name)] if is_list(at) else at.get(name)) != value:
        raise ValueError(f"{name} is another")
