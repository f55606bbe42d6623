"""Requests made of what the user typed."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pollinator.cli.terminal import Terminal
from pollinator.cli.variables import open_to_others, parse_environment, read_secrets
from pollinator.v1.run_pb2 import ProjectSource, RerunSource, Secret, SpecOverrides, StartRunRequest
from pollinator.v1.spec_pb2 import EnvironmentVariable
from pollinator.wire.colony_env import colony_from_environment
from pollinator.wire.errors import InvalidInput
from pollinator.wire.store_env import store_settings_from_environment


@dataclass(frozen=True, slots=True)
class Wishes:
    """What differs from project.yaml for one run, as typed."""

    executor: str
    settings: Sequence[str]
    environment: Sequence[str]
    secret_files: Sequence[str]
    require_container: bool
    arguments: Sequence[str]


def project_run(root: Path, wishes: Wishes, terminal: Terminal, *, strict: bool) -> StartRunRequest:
    """A request for a run of the project in ``root``, with an id that makes its repetition harmless.

    Raises:
        InvalidInput: a variable cannot be read.
    """
    source = project_source(root, wishes, terminal)
    store = store_settings_from_environment(os.environ)
    if store is not None:
        source.store.CopyFrom(store)
    source.strict = strict
    return StartRunRequest(request_id=str(uuid.uuid4()), project=source, secrets=_secrets(wishes, terminal))


def project_source(root: Path, wishes: Wishes, terminal: Terminal) -> ProjectSource:
    """The project in ``root`` with what differs for one run, and the colony that the environment names.

    Raises:
        InvalidInput: a variable cannot be read.
    """
    source = ProjectSource(root=str(root), overrides=_overrides(wishes))
    try:
        colony = colony_from_environment(os.environ)
    except InvalidInput as error:
        # The run may be for another place.
        wrong = "; ".join(f"{each.where} {each.message}" for each in error.violations)
        terminal.warn(f"{error.message}: {wrong}")
        source.colony_unusable = True
        return source
    if colony is not None:
        source.colony.CopyFrom(colony)
    return source


def repeated_run(run_id: str, wishes: Wishes, terminal: Terminal) -> StartRunRequest:
    """A request to run again what an earlier run ran.

    Raises:
        InvalidInput: a variable cannot be read.
    """
    source = RerunSource(run_id=run_id, overrides=_overrides(wishes))
    return StartRunRequest(request_id=str(uuid.uuid4()), rerun=source, secrets=_secrets(wishes, terminal))


def _overrides(wishes: Wishes) -> SpecOverrides:
    variables = parse_environment(wishes.environment, os.environ)
    return SpecOverrides(
        executor=wishes.executor,
        set=wishes.settings,
        arguments=wishes.arguments,
        environment=[EnvironmentVariable(name=name, value=variables[name]) for name in sorted(variables)],
        require_container=wishes.require_container,
    )


def _secrets(wishes: Wishes, terminal: Terminal) -> list[Secret]:
    found: dict[str, str] = {}
    for path in wishes.secret_files:
        found.update(read_secrets(path))
        if open_to_others(path):
            terminal.warn(f"other users of this machine can read {path}: chmod 600 {path}")
    return [Secret(name=name, value=found[name]) for name in sorted(found)]
