"""Files as kubectl reads them, and programs that give tokens."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pollinator.wire.cluster import Cluster, Where

VERSION = "client.authentication.k8s.io/v1"
CONTEXT = "lab"


def written(
    path: Path,
    server: str,
    user: Mapping[str, Any],
    cluster: Mapping[str, Any] | None = None,
    *,
    context: str = CONTEXT,
    namespace: str = "runs",
) -> Path:
    """A file with one context, which is the current one. JSON is YAML."""
    found = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "clusters": [{"name": f"{context}-cluster", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": f"{context}-user", "user": dict(user)}],
        "contexts": [
            {
                "name": context,
                "context": {
                    "cluster": f"{context}-cluster",
                    "user": f"{context}-user",
                    "namespace": namespace,
                },
            }
        ],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    return path


def program(path: Path, text: str, **more: object) -> dict[str, Any]:
    """A user who gets tokens from a Python program with this text; ``give`` answers with a status."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = (
        f"#!{sys.executable}\n"
        "import json, os, pathlib, signal, subprocess, sys, time\n"
        f"version, here = {VERSION!r}, pathlib.Path({str(path.parent)!r})\n"
        "def give(**status):\n"
        "    print(json.dumps({'apiVersion': version, 'kind': 'ExecCredential', 'status': status}))\n"
        f"with open({str(path) + '.asked'!r}, 'a') as asked:\n"
        "    print(os.environ.get('KUBERNETES_EXEC_INFO'), file=asked)\n"
    )
    path.write_text(head + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"exec": {"apiVersion": VERSION, "command": str(path), "interactiveMode": "IfAvailable", **more}}


def asked(path: Path) -> list[dict[str, Any]]:
    """What a program was told, each time."""
    told = Path(f"{path}.asked")
    return [json.loads(each) for each in told.read_text().splitlines()] if told.exists() else []


@asynccontextmanager
async def line(
    path: Path,
    server: str,
    user: dict[str, Any],
    about: dict[str, Any] | None = None,
    *,
    namespace: str = "",
    plugin_s: float = 30.0,
) -> AsyncGenerator[Cluster]:
    """A line to the cluster of a file that is made for it."""
    written(path, server, user, about)
    cluster = Cluster(Where(str(path), CONTEXT, namespace), plugin_s=plugin_s)
    try:
        yield cluster
    finally:
        await cluster.close()
