"""A pod without a cluster: its folders, its plan, and the programs beside its ranks as processes of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pollinator.chunks.folder import FolderStore
from pollinator.chunks.keys import namespace
from pollinator.executors.kubernetes.data import CONTROL, GO, OUTPUT, STOP, WORK
from pollinator.executors.kubernetes.pod import PLAN, SECRET, STAYS, STORE, UID, Plan, Pod
from pollinator.executors.kubernetes.told import Told
from pollinator.executors.records import write_private
from pollinator.v1.store_pb2 import FolderStore as FolderSettings
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.v1.tree_pb2 import SnapshotRef
from support.sandbox import wait_until

RUN = "run1"
PROJECT = "demo"


@dataclass
class LonePod:
    """One pod of a run, and the executor's side of it."""

    folder: Path
    node: int = 0
    uid: str = "00000000-aaaa-4bbb-8ccc-000000000001"
    plan: Plan = field(
        default_factory=lambda: Plan(
            run_id=RUN, project=PROJECT, snapshot=SnapshotRef(), external_links=False, grace_s=1.0
        )
    )

    def __post_init__(self) -> None:
        self.root = self.folder / f"pod-{self.uid[-4:]}"
        self.workspace = self.folder / "executor"
        for place in (CONTROL, OUTPUT, f"{WORK}/result", f"{WORK}/data", SECRET):
            self.at(place).mkdir(parents=True, exist_ok=True)
        for name in (GO, STOP, str(self.node)):
            (self.at(CONTROL) / name).touch()
        (self.workspace / "output").mkdir(parents=True, exist_ok=True)
        self.set_store(self.folder / "store")
        self.change()

    @property
    def pod(self) -> Pod:
        """As the programs in it see it."""
        return Pod(self.root, self.uid, self.node)

    @property
    def store(self) -> FolderStore:
        """That of the project."""
        return FolderStore(self.folder / "store" / namespace(PROJECT))

    def at(self, place: str) -> Path:
        """A place of the pod."""
        return self.root / place.lstrip("/")

    def set_store(self, path: Path) -> None:
        """Have the pod find the store elsewhere."""
        settings = StoreSettings(folder=FolderSettings(path=str(path)))
        # At once, as the kubelet does.
        write_private(self.at(SECRET) / STORE, settings.SerializeToString())

    def change(self, **fields: Any) -> None:
        """Have another plan."""
        self.plan = replace(self.plan, **fields)
        (self.at(SECRET) / PLAN).write_text(self.plan.to_json())

    def print(self, rank: int, text: bytes) -> None:
        """A rank prints."""
        with (self.at(OUTPUT) / str(rank)).open("ab") as file:
            file.write(text)

    def note(self, *lines: str) -> None:
        """The ranks' supervisor adds to its journal."""
        with (self.at(CONTROL) / str(self.node)).open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))

    def start(self, program: str = "collect", **environment: str) -> subprocess.Popen[bytes]:
        """One of the programs of the pod."""
        env = {name: value for name, value in os.environ.items() if not name.startswith("POLLINATOR_")}
        env |= {UID: self.uid, "JOB_COMPLETION_INDEX": str(self.node), **environment}
        command = [sys.executable, "-m", f"pollinator.executors.kubernetes.{program}", str(self.root)]
        return subprocess.Popen(command, env=env, stderr=subprocess.PIPE)

    def start_side_car(self) -> subprocess.Popen[bytes]:
        """``collect``, which the kubelet ends."""
        return self.start(**{STAYS: "1"})

    # The executor's side

    def told(self) -> Told:
        """What the executor knows, after a restart."""
        return Told(self.workspace, RUN, 2)

    def read_all(self, told: Told | None = None) -> Told:
        """Apply all that was told."""
        told = told or self.told()
        while told.read(self.store, self.uid, self.node, 1):
            pass
        return told

    def output(self, rank: int) -> bytes:
        """What a rank has printed, as the executor has it."""
        try:
            return (self.workspace / "output" / str(rank)).read_bytes()
        except FileNotFoundError:
            return b""

    def journal(self) -> str:
        """What the supervisor has noted, as the executor has it."""
        try:
            return (self.workspace / "control/1" / str(self.node)).read_text()
        except FileNotFoundError:
            return ""

    def wait_for(self, rank: int, text: bytes) -> None:
        """Wait until the executor has this of a rank."""
        told = self.told()

        def has_it() -> bool:
            self.read_all(told)
            return text in self.output(rank)

        wait_until(has_it, f"{text!r} is told")

    def pages(self) -> list[str]:
        """Keys of all pages in the store."""
        return list(self.store.keys("t/"))

    def state(self) -> object:
        """What the executor has on disk of its pods."""
        return json.loads((self.workspace / "pods.json").read_text())


class ToldCluster:
    """Stands for the API of a cluster: notes what it is asked, and fails when it is told to."""

    namespace = "runs"

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.fails: list[Exception] = []

    async def request(
        self, method: str, path: str, *, body: Any = None, content_type: str = "application/json"
    ) -> Any:
        """Note what is asked, or fail."""
        if self.fails:
            raise self.fails.pop(0)
        self.asked.append((method, path, body))
        return {}
