"""What objects of the cluster are called, and by which labels they are found again.

Names follow from the run and the attempt alone, so that making an object twice makes one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import secrets
from pathlib import Path

from pollinator.executors.base import Job
from pollinator.executors.kubernetes.data import Manifest
from pollinator.executors.records import read_record, write_json
from pollinator.wire.documents import as_entry

OWN = "pollinator.io"
RUN, ATTEMPT, PROJECT, USER, EXECUTOR = (
    f"{OWN}/{name}" for name in ("run-id", "attempt", "project", "user", "executor")
)
INDEX = "batch.kubernetes.io/job-completion-index"
QUEUE = "kueue.x-k8s.io/queue-name"
MOST_NAME = 1024
"""Characters of a user's name that are told."""
IDENTITY = "kubernetes.json"
"""In the state: who this executor is among others in the same namespace."""

_SHORT = re.compile(r"[0-9a-z]{1,40}")
_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def identity(state: Path) -> str:
    """A word that no other executor has, kept in the state."""
    known = read_record(state / IDENTITY)
    if known is None:
        known = {"executor": secrets.token_hex(6)}
        write_json(state / IDENTITY, known, durable=True)
    return str(known["executor"])


def job_name(run_id: str, attempt: int) -> str:
    """The name of a Job and of all that belongs to it; hosts of pods have it with their number behind it."""
    if not _SHORT.fullmatch(run_id):
        # Names have no capitals, and ids that differ in nothing else are different.
        run_id = f"{run_id[:16].lower()}-{_hashed(run_id)}"
    return f"pollinator-{run_id}" + (f"-{attempt}" if attempt > 1 else "")


def label_value(text: str) -> str:
    """A text as the value of a label: itself, or what stands for it."""
    return text if not text or _VALUE.fullmatch(text) else f"x-{_hashed(text)}"


def metadata(job: Job, attempt: int, executor: str) -> Manifest:
    """Name, labels and annotations of each object of an attempt."""
    labels = {
        "app.kubernetes.io/name": "pollinator",
        "app.kubernetes.io/instance": label_value(job.run_id),
        "app.kubernetes.io/version": label_value(importlib.metadata.version("pollinatord")),
        "app.kubernetes.io/component": "run",
        "app.kubernetes.io/part-of": label_value(job.spec.project),
        "app.kubernetes.io/managed-by": "pollinator",
        RUN: label_value(job.run_id),
        ATTEMPT: str(attempt),
        PROJECT: label_value(job.spec.project),
        EXECUTOR: executor,
    }
    # In full, whatever labels can hold.
    annotations = {
        RUN: job.run_id,
        PROJECT: job.spec.project,
        f"{OWN}/command": json.dumps([job.spec.command, job.spec.source, *job.spec.arguments])[:4096],
    }
    if user := job.source.user[:MOST_NAME]:
        labels[USER], annotations[USER] = label_value(user), user
    return {"name": job_name(job.run_id, attempt), "labels": labels, "annotations": annotations}


def is_ours(found: Manifest, executor: str, run_id: str) -> bool:
    """An object of this name was made by this executor for this run."""
    about = as_entry(found.get("metadata"))
    labels, annotations = as_entry(about.get("labels")), as_entry(about.get("annotations"))
    return labels.get(EXECUTOR) == executor and annotations.get(RUN) == run_id


def _hashed(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
