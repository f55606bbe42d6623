"""Whether a request for a run can be meant: what every executor checks before it writes anything down.

What a spec may say is the business of the model, and whether it can run here that of the executor.
"""

from __future__ import annotations

import re

from pollinator.chunks.digest import DIGEST_BYTES
from pollinator.chunks.keys import check_key, namespace
from pollinator.executors.environment import CONTRACT
from pollinator.model.keys import VARIABLE, VARIABLES
from pollinator.v1.run_pb2 import Secret, SnapshotSource, StartRunRequest
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import InvalidInput, Violation

_RUN_ID = re.compile(r"[0-9A-Za-z]{1,64}")
"""Ids become names of folders, jobs and labels."""

_TAKEN = "is the same for every executor, and set by it"


def check_request(request: StartRunRequest) -> None:
    """Refuse a request that names no run, no snapshot, or no way to its store.

    Raises:
        InvalidInput: it cannot be meant; each field that is wrong is named.
    """
    if not request.request_id:
        raise InvalidInput(
            "the request has no request_id",
            reason="request_id_missing",
            violations=[Violation("request_id", "make one, and use it again when the request is repeated")],
        )
    if request.WhichOneof("what") != "snapshot":
        raise InvalidInput(
            "an executor runs snapshots, not projects",
            reason="source_unsupported",
            violations=[Violation("snapshot", "name the snapshot, or ask the daemon that has the project")],
        )
    _check_source(request.snapshot)
    violations = [
        Violation(f"secrets.{secret.name}", text)
        for secret in request.secrets
        if (text := _wrong_secret(secret))
    ]
    if violations:
        raise InvalidInput("some secrets cannot be given", reason="bad_secrets", violations=violations)


def check_contract(spec: RunSpec) -> None:
    """Refuse variables that every rank gets from its executor.

    Raises:
        InvalidInput: some are; each is named.
    """
    violations = [
        Violation(f"{VARIABLES}.{variable.name}", _TAKEN)
        for variable in spec.environment
        if variable.name in CONTRACT
    ]
    if violations:
        raise InvalidInput("some variables cannot be set", reason="bad_spec", violations=violations)


def _check_source(source: SnapshotSource) -> None:
    wanted = {
        "snapshot.run_id": bool(source.run_id),
        "snapshot.snapshot.key": bool(source.snapshot.key),
        "snapshot.snapshot.digest": len(source.snapshot.digest) == DIGEST_BYTES,
        "snapshot.store": source.store.WhichOneof("kind") is not None,
        "snapshot.spec.project": bool(source.spec.project),
    }
    violations = [Violation(field, "is missing") for field, there in wanted.items() if not there]
    if violations:
        raise InvalidInput(
            "an executor needs a run id, a snapshot, the way to its store, and its spec",
            reason="source_incomplete",
            violations=violations,
        )
    ids = {
        "snapshot.run_id": source.run_id,
        "snapshot.origin.run_id": source.origin.run_id or source.run_id,
        "snapshot.origin.process_id": source.origin.process_id or source.run_id,
    }
    if bad := [field for field, name in ids.items() if not _RUN_ID.fullmatch(name)]:
        raise InvalidInput(
            f"{ids[bad[0]]!r} is not the id of a run",
            reason="bad_run_id",
            violations=[Violation(bad[0], "write letters and digits, at most 64")],
        )
    check_key(source.snapshot.key)
    namespace(source.spec.project)


def _wrong_secret(secret: Secret) -> str:
    """Why a rank cannot get this secret, or nothing; never its value."""
    if not VARIABLE.fullmatch(secret.name):
        return "is not the name of a variable"
    if secret.name in CONTRACT:
        return _TAKEN
    return "holds NUL, which no program can be given" if "\0" in secret.value else ""
