"""One JSON Schema (draft-07) of project.yaml, for editors, ``pollinator schema`` and the documentation."""

from __future__ import annotations

from typing import Any

from pollinator.model.keys import ALIASES, IGNORED, KEYS, LISTS, REQUIRED, VARIABLE, VARIABLES


def json_schema() -> dict[str, Any]:
    """The schema, made from the table of keys that the validator uses."""
    top = _object("Settings of a Pollinator project.")
    top |= {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Pollinator project.yaml"}
    for path, key in KEYS.items():
        _place(top, path, {**key.schema, "description": key.text})
    for path, (_, text) in LISTS.items():
        items = {"type": ["string", "number", "boolean"]}
        _place(top, path, {"type": "array", "items": items, "description": text})
    variables = {
        "type": "object",
        "propertyNames": {"pattern": f"^{VARIABLE.pattern}$"},
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        "description": "Variables for every rank.",
    }
    _place(top, VARIABLES, variables)
    for alias, path in ALIASES.items():
        _place(top, alias, {**KEYS[path].schema, "description": f"Older name of {path}."})
    for path in IGNORED:
        _place(top, path, {"description": "Version of this file's format."})
    for path in REQUIRED:
        _require(top, path)
    return top


def _place(top: dict[str, Any], path: str, schema: dict[str, Any]) -> None:
    holder = top
    *outer, name = path.split(".")
    for part in outer:
        holder = holder["properties"].setdefault(part, _object(f"Settings of {part}."))
    if isinstance(schema.get("type"), str):
        # A key without a value is one that is not there.
        schema["type"] = [schema["type"], "null"]
    holder["properties"][name] = schema


def _require(top: dict[str, Any], path: str) -> None:
    holder = top
    *outer, name = path.split(".")
    for part in outer:
        holder["required"] = [*holder.get("required", []), part]
        holder = holder["properties"][part]
        holder["type"] = "object"
    names = [name, *(alias for alias, meant in ALIASES.items() if meant == path)]
    for each in names:
        holder["properties"][each]["type"] = "string"
    holder["oneOf"] = [{"required": [each]} for each in names]


def _object(text: str) -> dict[str, Any]:
    return {
        "type": ["object", "null"],
        "description": text,
        "properties": {},
        "patternProperties": {"^x-": {}},
        "additionalProperties": False,
    }
