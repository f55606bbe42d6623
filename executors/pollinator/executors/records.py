"""The exit record of a run, which its supervisor writes last: reading and writing it.

A run with several attempts keeps the records of those that were not the last beside it.
Standard library only: supervisors import it.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

EXIT = "exit.json"
STARTED = "started.json"
MAX_REQUEUES = 10
"""How often a run that asks for it is run again, unless it says."""

_AGAIN = ("time_limit", "node_failed", "preempted")
"""Ends that are not the job's own."""

Record = dict[str, Any]


def read_record(path: Path) -> Record | None:
    """A record that was written whole; None without one."""
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return record


def write_json(path: Path, value: Record, *, durable: bool = False) -> None:
    """Write a record that only this user can read, atomically; ``durable`` ones survive a power cut."""
    write_private(path, json.dumps(value).encode(), durable=durable)


def write_private(path: Path, body: bytes, *, durable: bool = False) -> None:
    """The same of any bytes. One at a time: what a kill leaves, which may be secret, is written over."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(body)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)


def write_exit_patiently(workspace: Path, record: Record) -> None:
    """Write the exit record, without which nobody would ever know how the run ended; wait for a full disk."""
    while True:
        try:
            write_exit(workspace, record)
        except OSError:
            time.sleep(1)
        else:
            return


def write_exit(workspace: Path, record: Record) -> None:
    """Write the exit record for one who could not."""
    write_json(workspace / EXIT, record, durable=True)


def attempts(workspace: Path) -> int:
    """How many attempts have ended and were followed by another."""
    return sum(1 for _ in workspace.glob("attempt.*.json"))


def may_go_on(workspace: Path, record: Record, *, requeue: bool, max_requeues: int) -> bool:
    """A run that ended like this is to be run again."""
    return _may_again(workspace, record, requeue, max_requeues) and not (workspace / "cancel").exists()


def end_of_run(workspace: Path, record: Record, *, requeue: bool, max_requeues: int) -> Record:
    """How a run has ended whose last attempt ended so: by a cancel, if only that kept it from another."""
    if _may_again(workspace, record, requeue, max_requeues) and (workspace / "cancel").exists():
        return record | {"reason": "cancelled"}
    return record


def _may_again(workspace: Path, record: Record, requeue: bool, max_requeues: int) -> bool:
    again = requeue and record["reason"] in _AGAIN
    return again and attempts(workspace) < (max_requeues or MAX_REQUEUES)


def next_attempt(workspace: Path) -> None:
    """Put the record of an attempt aside: the run has not ended. Repeating it after a crash is harmless."""
    # A record without a start is this one, interrupted; a start without a record would be a lost run.
    (workspace / STARTED).unlink(missing_ok=True)
    (workspace / EXIT).replace(workspace / f"attempt.{attempts(workspace) + 1}.json")
