"""CheckSpec: what is wrong with a project.yaml, also while somebody types it."""

from __future__ import annotations

from pathlib import Path

from pollinator.daemon.runs.start import source_problem
from pollinator.daemon.service.ignoring import check_ignored
from pollinator.daemon.sync.projects import SPEC_FILE, read_spec_file
from pollinator.model.document import Finding
from pollinator.model.project import read_text
from pollinator.v1.project_pb2 import Problem
from pollinator.v1.spec_pb2 import RunSpec


def check_spec(root: Path, text: str | None) -> list[Problem]:
    """All that is wrong, from top to bottom.

    Args:
        root: folder of the project, which need not be open.
        text: what to look at instead of the file that is there.

    Raises:
        NotFound: there is no project.yaml, and no text either.
        Denied: it cannot be read.
    """
    document, spec = read_text(read_spec_file(root) if text is None else text, SPEC_FILE)
    source = document.values.get("environment.source")
    if source is not None and (wrong := _source_problem(root, spec)):
        document.complain(source, wrong, code="source_missing")
    return [_problem(found) for found in document.findings]


def _source_problem(root: Path, spec: RunSpec) -> str:
    def leaves_out(path: bytes) -> bool:
        return check_ignored(root, [b"cfs/" + path])[0].ignored

    return source_problem(root, spec.source, leaves_out)


def _problem(found: Finding) -> Problem:
    return Problem(
        path=SPEC_FILE,
        line=found.line,
        column=found.column,
        end_column=found.end_column,
        code=found.code,
        message=found.message,
        hint=found.hint,
    )
