"""What an executor does with containers: check a spec, make its image ready, say how ranks are started."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Self

from pollinator.executors.base import Job, Tell
from pollinator.executors.containers.engines import HOST, Engine, Engines, check_order
from pollinator.executors.containers.images import ContainerImages, Ready
from pollinator.executors.containers.reference import KEY, parse_reference
from pollinator.executors.records import read_record, write_json
from pollinator.v1.run_pb2 import Notice, Severity
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import InvalidInput, Violation, WrongState

SETTINGS = ("containers.engines", "images.dir", "images.tmp")
PATIENCE_S = 1.0
"""So long a caller that must not wait waits for engines that were not asked before."""

_RECORD = "image.json"
_FOREIGN = ("APPTAINERENV_", "SINGULARITYENV_")
"""With these a user's shell would put variables into every image."""


class Containers:
    """The engines and images of one executor."""

    def __init__(self, engines: Engines, images: ContainerImages) -> None:
        self.engines = engines
        self.images = images

    @classmethod
    def create(cls, settings: Mapping[str, str], usual: Sequence[str]) -> Self:
        """Those that the settings ask for, or the usual ones.

        Raises:
            InvalidInput: a setting cannot be meant.
        """
        folders = {name: settings.get(name, "") for name in ("images.dir", "images.tmp")}
        if wrong := [name for name, path in folders.items() if path and not os.path.isabs(path)]:
            violations = [Violation(name, "write an absolute path") for name in wrong]
            raise InvalidInput("a setting cannot be meant", reason="bad_settings", violations=violations)
        engines = Engines(check_order(settings.get("containers.engines", ""), usual))
        engines.start()
        images = ContainerImages(engines, folder=folders["images.dir"], scratch=folders["images.tmp"])
        return cls(engines, images)

    def names(self) -> list[str]:
        """Names of the engines that work, as far as that is known by now."""
        return [engine.name for engine in self.engines.working(PATIENCE_S)]

    def check(self, spec: RunSpec) -> tuple[list[Violation], list[Notice]]:
        """What is wrong with a spec that names an image, and what the user should know."""
        try:
            parse_reference(spec.image)
            engine = self.engines.choose(spec.engine, PATIENCE_S)
        except InvalidInput as error:
            return list(error.violations), []
        except WrongState as error:
            return [Violation("environment.engine", error.message)], []
        if engine is not None:
            return [], []
        if spec.require_container:
            return [Violation(KEY, f"{_why_none(spec)}, and --require-container asks for one")], []
        return [], [self._on_the_host(spec)]

    def prepare(self, job: Job, tell: Tell) -> list[Notice]:
        """Make a job's image ready, or find that its commands run on the host.

        Raises:
            PollinatorError: it cannot be had.
        """
        spec = job.spec
        if self._read(job) is not None:
            return []
        engine = self.engines.choose(spec.engine)
        if engine is None:
            if spec.require_container:
                raise WrongState(_why_none(spec), reason="no_container_engine")
            return [self._on_the_host(spec)]
        return self._prepare(job, engine, tell)

    def _prepare(self, job: Job, engine: Engine, tell: Tell) -> list[Notice]:
        reference = parse_reference(job.spec.image).below(job.work / "src")
        ready = self.images.ready(reference, engine, rebuild=job.spec.rebuild_image, tell=tell)
        write_json(job.workspace / _RECORD, asdict(ready))
        self.images.hold(job.run_id, ready.key)
        if not ready.notice:
            return []
        return [Notice(severity=Severity.SEVERITY_WARNING, code="registry_unreachable", text=ready.notice)]

    def plan(self, job: Job, env: Mapping[str, str], cpus: float) -> dict[str, Any] | None:
        """The part of a launch plan that says what its commands are in; None for the host.

        Args:
            job: whose image is ready.
            env: of the engine's own programs.
            cpus: how many processors it may use; 0 for all.
        """
        ready = self._read(job)
        if ready is None:
            return None
        self.images.hold(job.run_id, ready.key)
        own = {name: value for name, value in env.items() if not name.startswith(_FOREIGN)}
        # By this the processes of a run are found whose supervisor was killed.
        own["POLLINATOR_RUN_ID"] = job.known_as
        return {
            "engine": ready.engine,
            "program": ready.program,
            "image": ready.image,
            "user": ready.user,
            "cpus": cpus,
            "env": own,
        }

    def _on_the_host(self, spec: RunSpec) -> Notice:
        text = f"{_why_none(spec)}: the command runs on the host, not in {spec.image}"
        if spec.init_command:
            text += ", and init-cmd, which is for the image, is left out"
        if spec.engine != HOST:
            engines = " or ".join(self.engines.order)
            text += "; remove environment.docker if that is meant"
            text += f", else install {engines} there" * bool(engines)
        return Notice(severity=Severity.SEVERITY_WARNING, code="no_container_engine", text=text)

    def release(self, job: Job) -> None:
        """The job has ended."""
        self.images.release(job.run_id)

    def _read(self, job: Job) -> Ready | None:
        if not job.spec.image:
            return None
        record = read_record(job.workspace / _RECORD)
        return Ready(**record) if record is not None else None


def _why_none(spec: RunSpec) -> str:
    if spec.engine == HOST:
        return "environment.engine is none"
    return "no container engine works here"
