"""What ``pollinator doctor`` asks of the daemon."""

from __future__ import annotations

import shutil
from pathlib import Path

from pollinator.daemon.registry import Registry
from pollinator.daemon.sync.projects import OpenProject, Projects
from pollinator.v1.daemon_pb2 import Check, CheckStatus
from pollinator.v1.project_pb2 import ProjectState
from pollinator.wire import places
from pollinator.wire.errors import PollinatorError

LOW_DISK_BYTES = 2 * 1024**3


async def diagnose(projects: Projects, registry: Registry, root: str) -> list[Check]:
    """Look at the disk, the executors, and the project in ``root`` or else all projects."""
    checks = [_disk(places.state_dir())]
    checks += [await _executor(registry, name) for name in registry.names()]
    wanted = [project for project in projects.all() if root in ("", str(project.worker.root))]
    for project in wanted:
        checks += [_project(project), await _store(project)]
    return checks


def check_metrics(address: str, trouble: str) -> Check:
    """Whether metrics are served where the setting says; ``trouble`` is why not."""
    if not trouble:
        text = f"at http://{address}/metrics"
        return Check(name="metrics", status=CheckStatus.CHECK_STATUS_OK, detail=text)
    return Check(
        name="metrics",
        status=CheckStatus.CHECK_STATUS_WARNING,
        detail=f"none at {address}: {trouble}",
        hint="free the port or name another (the setting metrics), then: pollinator daemon restart",
    )


def _disk(path: Path) -> Check:
    free = shutil.disk_usage(path).free
    text = f"{free / 1e9:.1f} GB free at {path}"
    if free < LOW_DISK_BYTES:
        hint = "free some space: the embedded store and the run log live there"
        return Check(name="disk", status=CheckStatus.CHECK_STATUS_WARNING, detail=text, hint=hint)
    return Check(name="disk", status=CheckStatus.CHECK_STATUS_OK, detail=text)


async def _executor(registry: Registry, name: str) -> Check:
    link = registry.get(name)
    try:
        await link.ensure()
        found = await link.describe()
    except PollinatorError as error:
        return _failed(f"executor {name}", error)
    offer = found.capabilities
    known = [
        f"{offer.cpu_millis / 1000:g} cores" if offer.cpu_millis else "",
        f"{offer.memory_bytes / 2**30:.1f} GiB" if offer.memory_bytes else "",
        f"memory limited by {offer.memory_source}" if offer.memory_source else "",
    ]
    text = ", ".join(each for each in known if each) or "it answers"
    return Check(name=f"executor {name}", status=CheckStatus.CHECK_STATUS_OK, detail=text)


def _project(project: OpenProject) -> Check:
    state = project.describe()
    name = f"project {state.name}"
    if state.state in (ProjectState.PROJECT_STATE_HALTED, ProjectState.PROJECT_STATE_MISSING):
        return Check(name=name, status=CheckStatus.CHECK_STATUS_FAILED, detail=state.problem)
    if state.degraded or state.problem:
        text = state.degraded or state.problem
        return Check(name=name, status=CheckStatus.CHECK_STATUS_WARNING, detail=text)
    text = f"{state.files} files watched by {state.watching}"
    return Check(name=name, status=CheckStatus.CHECK_STATUS_OK, detail=text)


async def _store(project: OpenProject) -> Check:
    name = f"store of {project.name}"
    try:
        await project.worker.call(project.worker.store.check)
    except PollinatorError as error:
        return _failed(name, error)
    return Check(name=name, status=CheckStatus.CHECK_STATUS_OK, detail=project.worker.store.identity)


def _failed(name: str, error: PollinatorError) -> Check:
    return Check(name=name, status=CheckStatus.CHECK_STATUS_FAILED, detail=error.message, hint=error.hint)
