"""Which project a command is about: the nearest folder upwards that holds project.yaml."""

from __future__ import annotations

from pathlib import Path

from pollinator.wire.errors import InvalidInput
from pollinator.wire.places import PROJECT_FILE


def find_project(start: Path) -> Path | None:
    """The project that ``start`` lies in, links resolved; None when there is none."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file():
            return folder
    return None


def project_here(named: Path | None = None) -> Path:
    """The project that ``--project`` names, or the one this command is called in.

    Raises:
        InvalidInput: there is none.
    """
    if named is not None:
        if not (named / PROJECT_FILE).is_file():
            raise InvalidInput(
                f"{named} holds no {PROJECT_FILE}",
                reason="no_project",
                hint=f"make one: pollinator new --here {named}",
            )
        return named.resolve()
    found = find_project(Path.cwd())
    if found is None:
        raise InvalidInput(
            f"no {PROJECT_FILE} here or in any folder above",
            reason="no_project",
            hint="go to a project, or make one: pollinator new DIR",
        )
    return found


def project_or_any(named: Path | None = None) -> str:
    """As ``project_here``, but empty when this command is called outside of any project."""
    if named is not None:
        return str(project_here(named))
    found = find_project(Path.cwd())
    return str(found) if found else ""
