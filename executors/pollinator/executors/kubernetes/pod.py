"""What the programs beside the ranks find in their pod: the plan, the way to the store, and where things are.

Both come in a Secret of the run that is mounted into these programs only. The kubelet changes its files when
the executor does, which has new credentials for them long before the old ones end.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import DecodeError

from pollinator.chunks.store import Store
from pollinator.chunks.stores import open_store
from pollinator.executors.kubernetes.data import OURS
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Denied, Exhausted, NeedsLogin, PollinatorError, Unavailable

NOTES = f"{OURS}/notes"
"""What ``collect`` notes for the one that comes after it, should it be killed."""
ENDING = "ending"
"""A file among these: it is to end."""
SECRET = f"{OURS}/store"
KEYS = f"{OURS}/keys"
"""A Secret of whoever owns the cluster, where runs use one."""

STORE, PLAN, AUTHORITIES = "store", "plan.json", "authorities.pem"
"""Files of the Secret: settings of the store, the plan, and certificates to trust."""
UID, STAYS = "POLLINATOR_POD_UID", "POLLINATOR_STAYS"
"""Variables: the id of the pod; that ``collect`` is ended by the kubelet, after the ranks' container."""
KEY_NAMES = ("access_key", "secret_key", "session_token")
"""Files of the owner's Secret; the last one need not be there."""

TERMINATION = "/dev/termination-log"
TERMINATION_BYTES = 4096

LOOK_S = 0.2
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 15.0

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to do."""

    run_id: str
    project: str
    snapshot: SnapshotRef
    external_links: bool
    grace_s: float
    """So long the ranks may take to end when they are told to."""
    keeps: bool = False
    """There may be another attempt, which finds ``data`` and ``result`` as this one leaves them."""
    kept: Mapping[int, SnapshotRef] = field(default_factory=dict[int, SnapshotRef])
    """What the attempt before has left, by node."""

    def to_json(self) -> str:
        """The text of it."""
        known = asdict(self) | {
            "snapshot": _written(self.snapshot),
            "kept": {str(node): _written(ref) for node, ref in self.kept.items()},
        }
        return json.dumps(known)

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The one that has this text."""
        known = json.loads(text)
        kept = {int(node): _ref(ref) for node, ref in known["kept"].items()}
        return cls(**known | {"snapshot": _ref(known["snapshot"]), "kept": kept})


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of a run.

    Args:
        root: what is ``/`` in a container.
        uid: of the pod, which no other has.
        node: its number among the nodes of the run, from 0.
    """

    root: Path
    uid: str
    node: int

    @classmethod
    def here(cls, arguments: list[str]) -> Pod:
        """That of this process."""
        root = Path(arguments[0] if arguments else "/")
        return cls(root, os.environ[UID], int(os.environ.get("JOB_COMPLETION_INDEX", "0")))

    def at(self, place: str) -> Path:
        """A folder or file of it."""
        return self.root / place.lstrip("/")

    def plan(self) -> Plan:
        """What there is to do."""
        return Plan.from_json((self.at(SECRET) / PLAN).read_text("utf-8"))

    def note_end(self, text: str) -> None:
        """Leave the last words of a container where the executor reads them."""
        with contextlib.suppress(OSError):
            self.at(TERMINATION).write_bytes(text.encode()[:TERMINATION_BYTES])


class Ending:
    """Whether this process is to end: it was told so itself, or who has started it was.

    Args:
        file: is there then.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._told = threading.Event()

    def set(self) -> None:
        """It is."""
        self._told.set()

    def is_set(self) -> bool:
        """It is to end."""
        return self._told.is_set() or self._file.exists()

    def wait(self, seconds: float = math.inf) -> None:
        """Rest for so long, or until it is to end."""
        until = time.monotonic() + seconds
        while not self.is_set() and (left := until - time.monotonic()) > 0:
            self._told.wait(min(left, LOOK_S))


class Reach:
    """The store of the run, by the credentials of the moment. Belongs to one thread.

    Args:
        pod: this one.
        project: of the run.
        ending: set when this process is to end: pauses are over then.
    """

    def __init__(self, pod: Pod, project: str, ending: Ending) -> None:
        self._pod = pod
        self._project = project
        self._ending = ending
        self._store: Store | None = None
        self._settings = b""

    def do(self, work: Callable[[Store], _Result], patience_s: float, login_s: float) -> _Result:
        """Do something with the store; one that does not answer, or does not know us any more, is waited for.

        Args:
            work: may be done again.
            patience_s: so long one that does not answer is waited for.
            login_s: and so long other credentials.

        Raises:
            PollinatorError: it cannot be done, or not within this time.
        """
        begun = time.monotonic()
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return work(self.store())
            except (Unavailable, NeedsLogin, Denied, Exhausted) as error:
                longest_s = login_s if isinstance(error, (NeedsLogin, Denied)) else patience_s
                if time.monotonic() + pause_s > begun + longest_s or error.reason == "disk_full":
                    raise
                _log.warning("%s", error.message)
                self.drop()
            if self._ending.is_set():
                time.sleep(FIRST_PAUSE_S)
            else:
                self._ending.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def store(self) -> Store:
        """The store, opened anew where there are other credentials by now.

        Raises:
            PollinatorError: the settings name none.
        """
        settings = self._read()
        body = settings.SerializeToString(deterministic=True)
        if self._store is not None and body != self._settings:
            self.drop()
        if self._store is None:
            self._store, self._settings = open_store(settings, self._project), body
        return self._store

    def drop(self) -> None:
        """Open it anew the next time."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _read(self) -> StoreSettings:
        secret = self._pod.at(SECRET)
        try:
            settings = StoreSettings.FromString((secret / STORE).read_bytes())
        except (OSError, DecodeError) as error:
            # The kubelet replaces its files all at once, but not everybody who plays one does.
            raise Unavailable(
                f"the store's settings cannot be read: {error}", reason="no_settings"
            ) from error
        if settings.HasField("s3"):
            if (secret / AUTHORITIES).exists():
                settings.s3.ca_bundle = str(secret / AUTHORITIES)
            for name in KEY_NAMES:
                with contextlib.suppress(FileNotFoundError):
                    setattr(settings.s3, name, (self._pod.at(KEYS) / name).read_text("utf-8").strip())
        return settings


def _written(ref: SnapshotRef) -> dict[str, str]:
    return {"key": ref.key, "digest": ref.digest.hex()}


def _ref(known: Mapping[str, str]) -> SnapshotRef:
    return SnapshotRef(key=known["key"], digest=bytes.fromhex(known["digest"]))


def begin_log() -> None:
    """Have what is logged go to the container's log."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )


def words(error: PollinatorError | OSError) -> str:
    """An error for whoever reads how a container ended."""
    if isinstance(error, PollinatorError):
        return "\n".join(filter(None, (error.message, error.hint)))
    return str(error)
