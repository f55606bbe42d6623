"""The plain manifests of the Kubernetes executor, from its chart: ``make manifests`` writes them.

They are for those who use no Helm, and committed, so that nobody needs anything to read them.
"""

from __future__ import annotations

import sys

from support.helm import texts

NAME = "pollinator-executor"
NAMESPACE = "pollinator"
ORDER = ("account", "volume", "service", "deployment")
"""Each after what it needs."""
MANAGER = "app.kubernetes.io/managed-by"
HEAD = f"""\
# Made from ../chart by "make manifests". For a namespace {NAMESPACE}:
#
#   kubectl create namespace {NAMESPACE}
#   kubectl --namespace {NAMESPACE} create secret generic {NAME}-certificate --from-file=DIRECTORY/server
#   kubectl apply --filename executor.yaml
"""


def manifests() -> str:
    """What the chart makes without any values."""
    found = texts({}, NAME, NAMESPACE)
    parts = [found.pop(f"{NAME}/templates/{each}.yaml").strip() for each in ORDER]
    left = [name for name, text in found.items() if text.strip() and name.endswith(".yaml")]
    assert [] == left, "see ORDER"
    # Whoever applies them by hand does not have Helm.
    text = "\n---\n".join(parts).replace(f"{MANAGER}: Helm", f"{MANAGER}: kubectl")
    return f"{HEAD}---\n{text}\n"


if __name__ == "__main__":
    sys.stdout.write(manifests())
