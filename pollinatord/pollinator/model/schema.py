"""One JSON Schema (draft-07) of project.yaml, for editors, ``pollinator schema`` and the documentation."""

from __future__ import annotations

from typing import Any

from pollinator.model.keys import ALIASES, IGNORED, KEYS, LISTS, VARIABLE, VARIABLES


def json_schema() -> dict[str, Any]:
    """The schema, made from the table of keys that the validator uses."""
    top = _object("Settings of a Pollinator project.")
    top |= {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Pollinator project.yaml"}
    for path, key in KEYS.items():
        _place(top, path, {**key.schema, "description": key.text})
    for path, (_, text) in LISTS.items():
        _place(top, path, {"type": ["array", "null"], "items": {"type": "string"}, "description": text})
    variables = {
        "type": ["object", "null"],
        "propertyNames": {"pattern": f"^{VARIABLE.pattern}$"},
        "additionalProperties": {"type": ["string", "number", "boolean"]},
        "description": "Variables for every rank.",
    }
    _place(top, VARIABLES, variables)
    for alias, path in ALIASES.items():
        _place(top, alias, {**KEYS[path].schema, "description": f"Older name of {path}."})
    for path in IGNORED:
        _place(top, path, {"description": "Version of this file's format."})
    return top


def _place(top: dict[str, Any], path: str, schema: dict[str, Any]) -> None:
    holder = top
    *outer, name = path.split(".")
    for part in outer:
        holder = holder["properties"].setdefault(part, _object(f"Settings of {part}."))
    holder["properties"][name] = schema


def _object(text: str) -> dict[str, Any]:
    return {
        "type": ["object", "null"],
        "description": text,
        "properties": {},
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
    }
