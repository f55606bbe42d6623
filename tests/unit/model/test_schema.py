"""The JSON Schema of project.yaml, as editors use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from pollinator.model.keys import ALIASES, IGNORED, KEYS, LISTS, VARIABLES
from pollinator.model.project import load_spec
from pollinator.model.schema import json_schema
from pollinator.wire.errors import InvalidInput

PACKAGED = Path(__file__).parents[3] / "cli/pollinator/cli/data/project.schema.json"
BASE: dict[str, Any] = {"projectname": "p", "environment": {"cmd": "python3"}}

GOOD: list[dict[str, Any]] = [
    {},
    {"conditions": None, "tunnel": None, "x-mine": {"any": ["thing"]}, "schemaVersion": 1},
    {"conditions": {"cpu": "1000m", "mem": "1000Mi", "walltime": 600, "gpu": {"count": 0, "name": ""}}},
    {"conditions": {"cpu": 2, "mem": 1048576, "walltime": "01:30:00"}},
    {"conditions": {"cpu": 0.5, "mem": "1.5G", "walltime": "1-12:00"}},
    {"conditions": {"executorNames": ["a", "b"], "executorType": "local", "nodes": 1, "processesPerNode": 4}},
    {"environment": {"cmd": "a", "args": ["a", 1, 0.5, True], "env": {"A": "1", "B": 2, "C": None}}},
    {"environment": {"cmd": "a", "docker": None, "rebuildImage": True, "init-cmd": "x", "source": "d/m.py"}},
    {
        "tunnel": {
            "user": "u",
            "jumpHost": "h",
            "jumpHostPort": 22,
            "sshKey": "k",
            "localPort": 1,
            "remotePort": 2,
        }
    },
    {"sync": {"allowExternalLinks": False}},
]

BAD: list[dict[str, Any]] = [
    {"colour": "red"},
    {"projectname": None},
    {"projectname": "a b"},
    {"projectname": "p", "projectid": "p"},
    {"environment": None},
    {"environment": {}},
    {"environment": {"cmd": ""}},
    {"environment": {"cmd": "a", "rebuildImage": "maybe"}},
    {"environment": {"cmd": "a", "args": "one"}},
    {"environment": {"cmd": "a", "args": [["one"]]}},
    {"environment": {"cmd": "a", "env": {"A-B": "1"}}},
    {"environment": {"cmd": "a", "env": {"A": ["1"]}}},
    {"conditions": "fast"},
    {"conditions": {"nodes": 0}},
    {"conditions": {"nodes": 1.5}},
    {"conditions": {"nodes": 1_000_001}},
    {"conditions": {"cpu": "1 core"}},
    {"conditions": {"cpu": -1}},
    {"conditions": {"mem": "lots"}},
    {"conditions": {"mem": "-1Gi"}},
    {"conditions": {"walltime": "soon"}},
    {"conditions": {"gpu": {"count": -1}}},
    {"conditions": {"gpu": {"mem": "1Gi"}}},
    {"tunnel": {"localPort": 65536}},
]


def valid(document: object) -> bool:
    validator: Any = Draft7Validator(json_schema())
    return bool(validator.is_valid(document))


def accepted(document: object) -> bool:
    try:
        load_spec(yaml.safe_dump(document), "project.yaml")
    except InvalidInput:
        return False
    return True


def test_it_is_a_schema() -> None:
    Draft7Validator.check_schema(json_schema())


def test_the_packaged_file_is_up_to_date() -> None:
    assert json.dumps(json_schema(), indent=2) + "\n" == PACKAGED.read_text("utf-8")


@pytest.mark.parametrize("change", GOOD)
def test_what_is_right_is_right_for_both(change: dict[str, Any]) -> None:
    assert (True, True) == (valid(BASE | change), accepted(BASE | change))


@pytest.mark.parametrize("change", BAD)
def test_what_is_wrong_is_wrong_for_both(change: dict[str, Any]) -> None:
    assert (False, False) == (valid(BASE | change), accepted(BASE | change))


@pytest.mark.parametrize("missing", BASE)
def test_what_every_project_has_is_asked_for(missing: str) -> None:
    document = {key: value for key, value in BASE.items() if key != missing}

    assert (False, False) == (valid(document), accepted(document))


def test_the_name_may_be_the_older_one() -> None:
    document = {"projectid": "p", "environment": {"cmd": "a"}}

    assert (True, True) == (valid(document), accepted(document))


def test_every_key_is_described() -> None:
    for path in (*KEYS, *LISTS, VARIABLES, *ALIASES, *IGNORED):
        schema = json_schema()
        for part in path.split("."):
            schema = schema["properties"][part]

        assert schema["description"].endswith("."), path


@pytest.mark.parametrize("path", [path for path, key in KEYS.items() if "examples" in key.schema])
def test_the_examples_are_good(path: str) -> None:
    key = KEYS[path]
    examples: Any = key.schema["examples"]
    outer, _, name = path.partition(".")

    assert examples
    for example in examples:
        key.parse(str(example))

        assert valid(BASE | {outer: BASE.get(outer, {}) | {name: example}})
