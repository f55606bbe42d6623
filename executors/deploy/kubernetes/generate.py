"""Write the plain manifests from the chart, or check that they are up to date.

Run ``python executors/deploy/kubernetes/generate.py`` after changing the chart and commit what it writes, for
those who use no Helm. ``--check`` writes nothing and fails when the committed file differs. Helm's own code
renders the chart, as its package for Python carries it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import helm_python

HERE = Path(__file__).resolve().parent
MANIFESTS = HERE / "manifests" / "executor.yaml"
NAME = "pollinator-executor"
NAMESPACE = "pollinator"
MANAGER = "app.kubernetes.io/managed-by"
ORDER = ("account", "volume", "service", "deployment")
"""Each after what it needs."""
HEAD = f"""\
# Made from ../chart by ../generate.py. For a namespace {NAMESPACE}:
#
#   kubectl create namespace {NAMESPACE}
#   kubectl --namespace {NAMESPACE} create secret generic {NAME}-certificate --from-file=DIRECTORY/server
#   kubectl apply --filename executor.yaml
"""


def rendered() -> str:
    """The manifests that the chart makes without any values."""
    with helm_python.Chart.load(HERE / "chart") as chart:
        found = chart.render({}, name=NAME, namespace=NAMESPACE)
    parts = [found.pop(f"{NAME}/templates/{each}.yaml").strip() for each in ORDER]
    left = [name for name, text in found.items() if text.strip() and not name.endswith((".txt", ".tpl"))]
    if left:
        raise SystemExit(f"no place is known for {', '.join(left)}: see ORDER")
    # Whoever applies them by hand does not have Helm.
    text = "\n---\n".join(parts).replace(f"{MANAGER}: Helm", f"{MANAGER}: kubectl")
    return f"{HEAD}---\n{text}\n"


def main(arguments: list[str]) -> int:
    """Entry point; returns the exit code."""
    if arguments == ["--check"]:
        fresh = MANIFESTS.exists() and MANIFESTS.read_text("utf-8") == rendered()
        if not fresh:
            sys.stderr.write(f"{MANIFESTS} is out of date, run python {Path(__file__).name}\n")
        return 0 if fresh else 1
    if arguments:
        sys.stderr.write("usage: generate.py [--check]\n")
        return 2
    MANIFESTS.parent.mkdir(exist_ok=True)
    MANIFESTS.write_text(rendered(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
