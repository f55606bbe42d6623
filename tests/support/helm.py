"""The chart as Helm sees it. Its code is Go and stays in the process that loads it: each call has its own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import yaml

from support.source import ROOT

DEPLOY = ROOT / "executors/deploy/kubernetes"
CHART = DEPLOY / "chart"

_PROGRAM = """
import json, sys
import helm_python
asked = json.load(sys.stdin)
try:
    if asked["lint"]:
        found = helm_python.lint(asked["chart"], asked["values"], strict=True, namespace="runs")
    else:
        with helm_python.Chart.load(asked["chart"]) as chart:
            chart.validate_schema(asked["values"])
            found = chart.render(asked["values"], name=asked["name"], namespace=asked["namespace"])
except helm_python.HelmError as error:
    sys.exit(str(error))
json.dump(found, sys.stdout)
"""


class Refused(Exception):
    """What Helm says of values or templates that it does not take."""


def lint(values: dict[str, Any]) -> list[str]:
    """What is wrong with the chart: warnings and errors."""
    found = _helm(lint=True, values=values)
    worse = [each["error"] for each in found["messages"] if each["severity"] > 1]
    return [str(each) for each in (*worse, *found["errors"])]


def render(values: dict[str, Any], name: str = "hall") -> list[dict[str, Any]]:
    """All objects of an installation in a namespace ``runs``; raises Refused."""
    found = texts(values, name, "runs")
    documents = [each for path in sorted(found) if path.endswith(".yaml") for each in loaded(found[path])]
    return [each for each in documents if each]


def texts(values: dict[str, Any], name: str, namespace: str) -> dict[str, str]:
    """What the templates of the chart become, by their paths; raises Refused."""
    return _helm(lint=False, values=values, name=name, namespace=namespace)


def loaded(text: str) -> list[dict[str, Any]]:
    """The documents of a file."""
    return list(yaml.safe_load_all(text))


def _helm(**asked: object) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input=json.dumps({"chart": str(CHART), **asked}),
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    if done.returncode:
        raise Refused(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found
