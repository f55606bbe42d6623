"""The containers that bring files to the ranks of a pod and their words home, and their Secret, from data."""

from __future__ import annotations

import base64

from pollinator.executors.base import Job
from pollinator.executors.kubernetes.credentials import Issued
from pollinator.executors.kubernetes.data import (
    COLLECT,
    CONTROL,
    FETCH,
    OURS,
    OUTPUT,
    WORK,
    Manifest,
    Parts,
)
from pollinator.executors.kubernetes.naming import metadata
from pollinator.executors.kubernetes.pod import (
    AUTHORITIES,
    ENDING,
    KEYS,
    NOTES,
    PLAN,
    SECRET,
    STAYS,
    STORE,
    UID,
    Plan,
)
from pollinator.executors.kubernetes.settings import Site

PACKAGE = "pollinator.executors.kubernetes"
FILES, TOLD, NOTED, WAY, OWNER = "files", "told", "notes", "store", "keys"
"""Volumes: the trees, what ranks leave, what ``collect`` notes, the run's Secret, and that of the owner."""
# The first process of a container hears no signal that it has no handler for, and Python takes a while until
# it has one, or has none: a pod that is removed just then would stay until its time to end is over. A shell
# that has just forked may lose one as well, so it is sent again.
ENDS = """\
trap 'told=1; [ -z "$child" ] || kill -s TERM "$child" 2> /dev/null' TERM
"$@" & child=$!
[ -z "$told" ] || kill -s TERM "$child" 2> /dev/null
while :; do
    wait "$child"; code=$?
    kill -0 "$child" 2> /dev/null || exit "$code"
    [ -z "$told" ] || break
done
for again in 1 2 3; do sleep 1; kill -s TERM "$child" 2> /dev/null || break; done
wait "$child"
"""
"""What starts ``fetch``, in the words of every shell: told to end, it ends it."""
NOTES_IT = """\
trap ': > "$0"' TERM
"$@" & child=$!
while :; do
    wait "$child"; code=$?
    kill -0 "$child" 2> /dev/null || exit "$code"
done
"""
"""What starts ``collect``: told to end, it leaves word in a file. The ranks may have ended before Python has
begun, and what they left is to be told all the same."""
CPU_MILLIS, MEMORY_BYTES = 500, 512 * 1024 * 1024
"""What the one beside the ranks takes of their node."""
RESOURCES = {
    FETCH: {"cpu": "500m", "memory": "1Gi"},
    COLLECT: {"cpu": f"{CPU_MILLIS}m", "memory": str(MEMORY_BYTES)},
}
"""Requested, and the limit: a pod whose containers do not say both is the first to be ended."""
RESULTS_S = 24 * 3600
"""So much longer than their ranks pods may be there: results wait for a store that does not answer."""
GRACE_S = 300
"""So long a pod that is to end has to store what there is."""


_STARTS = {FETCH: (ENDS, FETCH), COLLECT: (NOTES_IT, f"{NOTES}/{ENDING}")}


def secret_name(job: Job, attempt: int, executor: str) -> str:
    """Of the Secret by which pods of an attempt reach the store."""
    return f"{metadata(job, attempt, executor)['name']}-store"


def secret_manifest(job: Job, attempt: int, executor: str, plan: Plan, issued: Issued) -> Manifest:
    """The Secret, without an owner."""
    about = metadata(job, attempt, executor) | {"name": secret_name(job, attempt, executor)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": about,
        "type": "Opaque",
        "data": secret_data(issued) | {PLAN: _encoded(plan.to_json().encode())},
    }


def secret_data(issued: Issued) -> dict[str, str]:
    """What of it changes when credentials are renewed."""
    data = {STORE: _encoded(issued.settings.SerializeToString(deterministic=True))}
    if issued.authorities:
        data[AUTHORITIES] = _encoded(issued.authorities)
    return data


def parts_of(job: Job, attempt: int, executor: str, site: Site) -> Parts:
    """What pods have besides their ranks.

    Args:
        job: the run.
        attempt: which one.
        executor: its name in the cluster.
        site: the settings.
    """
    secret = {"secretName": secret_name(job, attempt, executor)}
    volumes: list[Manifest] = [
        *({"name": name, "emptyDir": {}} for name in (FILES, TOLD, NOTED)),
        {"name": WAY, "secret": secret},
    ]
    if site.credentials:
        volumes.append({"name": OWNER, "secret": {"secretName": site.credentials}})
    mounts: list[Manifest] = [
        {"name": FILES, "mountPath": WORK},
        {"name": FILES, "subPath": "src", "mountPath": f"{WORK}/src", "readOnly": True},
        {"name": TOLD, "subPath": "output", "mountPath": OUTPUT},
        {"name": TOLD, "subPath": "control", "mountPath": CONTROL},
    ]
    fetch, collect = _container(FETCH, site), _container(COLLECT, site)
    # A side-car: it runs beside the others from before, is started again, and ends after them.
    collect["restartPolicy"] = "Always"
    collect["env"].append({"name": STAYS, "value": "1"})
    return Parts(
        volumes=volumes,
        mounts=mounts,
        before=[fetch, collect],
        extra_s=RESULTS_S,
        grace_s=GRACE_S,
    )


def _container(name: str, site: Site) -> Manifest:
    # Later mounts lie in earlier ones.
    mounts = [
        {"name": FILES, "mountPath": WORK},
        {"name": TOLD, "mountPath": OURS},
        {"name": NOTED, "mountPath": NOTES},
        {"name": WAY, "mountPath": SECRET, "readOnly": True},
    ]
    if site.credentials:
        mounts.append({"name": OWNER, "mountPath": KEYS, "readOnly": True})
    resources = RESOURCES[name]
    return {
        "name": name,
        "image": site.executor_image,
        "imagePullPolicy": "Always" if site.executor_image.endswith(":latest") else "IfNotPresent",
        "command": ["/bin/sh", "-c", *_STARTS[name], site.python, "-m", f"{PACKAGE}.{name}"],
        "env": [
            {"name": UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
            {"name": "HOME", "value": NOTES},
            {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
            {"name": "PYTHONUNBUFFERED", "value": "1"},
        ],
        "resources": {"requests": resources, "limits": resources},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": mounts,
    }


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
