"""What a container is to be, by what is written in its pod."""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import Any

from support.kubernetes.containers import Plan
from support.kubernetes.kinds import Obj, list_of, part
from support.kubernetes.quantities import quantity
from support.kubernetes.store import Store
from support.kubernetes.variables import Missing, environment, expanded
from support.kubernetes.volumes import Bound, Volumes

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ROOTLESS = 65532
_LAST_WORDS = 4096
_LAST_OF_LOG = 2048


def plan(
    store: Store, pod: Obj, container: Obj, volumes: Volumes, folder: Path, server: tuple[str, int]
) -> Plan:
    """What it is to be.

    Args:
        store: where secrets are.
        pod: its pod.
        container: as it is written there.
        volumes: of the pod.
        folder: of the container, for files that it sees.
        server: where pods find the API server.

    Raises:
        Missing: what it is to be given is not there, or may not be as it is.
    """
    security: dict[str, Any] = {**_of_pod(pod), **part(container, "securityContext")}
    uid = _user(container, security, pod)
    gid = security.get("runAsGroup") or (0 if uid == 0 else _group(uid))
    own = {
        "PATH": _PATH,
        "HOSTNAME": hostname(pod),
        "KUBERNETES_SERVICE_HOST": server[0],
        "KUBERNETES_SERVICE_PORT": str(server[1]),
        "HOME": _home(uid),
    }
    env = environment(store, pod, container, own)
    limit = part(container, "resources", "limits").get("memory", "0")
    words = [*list_of(container, "command"), *list_of(container, "args")]
    return Plan(
        argv=[expanded(each, env) for each in words] or ["/bin/sh"],
        env=env,
        hostname=hostname(pod),
        cwd=container.get("workingDir") or "/",
        uid=uid,
        gid=gid,
        more_groups=_groups(security),
        binds=[*volumes.mounts(container, env), *_own_files(container, folder)],
        read_only_root=bool(security.get("readOnlyRootFilesystem")),
        no_new_privileges=security.get("allowPrivilegeEscalation") is False,
        memory_bytes=int(quantity(limit)),
    )


def _groups(security: dict[str, Any]) -> list[int]:
    more = [security["fsGroup"]] if security.get("fsGroup") else []
    return [*list_of(security, "supplementalGroups"), *more]


def _own_files(container: Obj, folder: Path) -> list[Bound]:
    """Files that every container sees: its last words, and names of machines."""
    last = folder / "termination-log"
    last.touch()
    last.chmod(0o666)
    return [
        Bound(str(last), container["terminationMessagePath"], read_only=False),
        Bound(str(folder.parent / "hosts"), "/etc/hosts", read_only=False),
    ]


def hostname(pod: Obj) -> str:
    """As a pod calls itself."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63]


def last_words(container: Obj, folder: Path, log: Path, *, failed: bool) -> str:
    """What a container left as its message."""
    path = folder / "termination-log"
    said = path.read_bytes()[-_LAST_WORDS:] if path.exists() else b""
    if not said and failed and container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
        said = log.read_bytes()[-_LAST_OF_LOG:]
    return said.decode("utf-8", "replace")


def hosts(pod: Obj, ip: str, peers: list[tuple[str, str]]) -> str:
    """What a pod finds by name: itself, and those of the services of its namespace."""
    rows = ["127.0.0.1\tlocalhost", f"{ip}\t{hostname(pod)}", *(f"{at}\t{name}" for at, name in peers)]
    return "# Kubernetes-managed hosts file.\n" + "".join(f"{each}\n" for each in rows)


def _of_pod(pod: Obj) -> dict[str, Any]:
    return dict(part(pod["spec"], "securityContext"))


def _user(container: Obj, security: dict[str, Any], pod: Obj) -> int:
    image = container["image"]
    given = security.get("runAsUser")
    uid = int(given) if given is not None else (_ROOTLESS if "/rootless" in image else 0)
    if security.get("runAsNonRoot") and uid == 0:
        meta = pod["metadata"]
        whole = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        where = f'(pod: "{whole}", container: {container["name"]})'
        if given is None:
            raise Missing(f"container has runAsNonRoot and image will run as root {where}")
        raise Missing(f"container's runAsUser breaks non-root policy {where}")
    return uid


def _group(uid: int) -> int:
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return 0


def _home(uid: int) -> str:
    if uid == 0:
        return "/root"
    try:
        return pwd.getpwuid(uid).pw_dir
    except KeyError:
        return "/"
