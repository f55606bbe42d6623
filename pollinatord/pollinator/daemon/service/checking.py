"""CheckSpec: what is wrong with a project.yaml, also while somebody types it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pollinator.daemon.runs.start import source_problem
from pollinator.daemon.service.ignoring import check_ignored
from pollinator.daemon.sync.projects import read_spec_file
from pollinator.model.document import Finding, suggestion
from pollinator.model.project import read_text
from pollinator.v1.project_pb2 import Problem
from pollinator.v1.run_pb2 import Severity
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.places import PROJECT_FILE

EXECUTOR_UNKNOWN = "executor_unknown"


def check_spec(root: Path, text: str | None, executors: Sequence[str] | None) -> list[Problem]:
    """All that is wrong, from top to bottom.

    Args:
        root: folder of the project, which need not be open.
        text: what to look at instead of the file that is there.
        executors: the names that are known; None when others may be known as well.

    Raises:
        NotFound: there is no project.yaml, and no text either.
        Denied: it cannot be read.
    """
    document, spec = read_text(read_spec_file(root) if text is None else text, PROJECT_FILE)
    source = document.values.get("environment.source")
    if source is not None and (wrong := _source_problem(root, spec)):
        document.complain(source, wrong, code="source_missing")
    named = document.values.get("conditions.executorNames")
    if named is not None and executors is not None and not {*spec.executor_names} & {*executors}:
        for name in spec.executor_names[:1]:
            hint = suggestion(name, executors).removeprefix("; ")
            document.complain(named, f"there is no executor {name!r}", hint, EXECUTOR_UNKNOWN)
    return [_problem(found) for found in document.findings]


def _source_problem(root: Path, spec: RunSpec) -> str:
    def leaves_out(path: bytes) -> bool:
        return check_ignored(root, [b"cfs/" + path])[0].ignored

    return source_problem(root, spec.source, leaves_out)


def _problem(found: Finding) -> Problem:
    return Problem(
        path=PROJECT_FILE,
        line=found.line,
        column=found.column,
        end_column=found.end_column,
        # It may be added until a run is started, or be that of a colony.
        severity=Severity.SEVERITY_WARNING
        if found.code == EXECUTOR_UNKNOWN
        else Severity.SEVERITY_UNSPECIFIED,
        code=found.code,
        message=found.message,
        hint=found.hint,
    )
