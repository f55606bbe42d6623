"""How a pod is shown, from what its kubelet knows of its containers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from support.kubernetes.containers import Container, Ended
from support.kubernetes.images import whole
from support.kubernetes.kinds import Obj, part
from support.kubernetes.store import now, set_condition

_UNKNOWN = "The container could not be located when the pod was terminated"


@dataclass
class Shown:
    """A container, as its pod shows it."""

    spec: Obj
    """As it is written in the pod."""
    init: bool
    state: Obj = field(default_factory=Obj)
    last: Obj = field(default_factory=Obj)
    restarts: int = 0
    running: Container | None = None
    id: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.spec["name"])

    @property
    def sidecar(self) -> bool:
        """It begins before the others and goes on beside them."""
        return self.init and self.spec.get("restartPolicy") == "Always"

    @property
    def code(self) -> int | None:
        """Its exit code, if it has ended."""
        ended = self.state.get("terminated")
        return None if ended is None else int(ended["exitCode"])

    def waits(self, reason: str, message: str = "") -> None:
        """It does not run yet, or not again."""
        self.state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}

    def began(self, container: Container) -> None:
        """It runs."""
        self.running, self.id = container, f"containerd://{container.id}"
        self.state = {"running": {"startedAt": now()}}

    def ended(self, ended: Ended, message: str = "") -> None:
        """It does not any more."""
        reason = "Completed" if ended.code == 0 else "Error"
        self.terminated(ended.code, "OOMKilled" if ended.out_of_memory else reason, message)

    def terminated(self, code: int, reason: str, message: str = "") -> None:
        """It does not run any more, or never has."""
        since = part(self.state, "running").get("startedAt") or now()
        self.running = None
        self.state = {
            "terminated": {
                "exitCode": code,
                "reason": reason,
                "startedAt": since,
                "finishedAt": now(),
                **({"message": message} if message else {}),
                **({"containerID": self.id} if self.id else {}),
            }
        }

    def is_lost(self) -> None:
        """Nobody knows any more how it ended, or it never began."""
        self.terminated(137, "ContainerStatusUnknown", _UNKNOWN)

    def row(self) -> Obj:
        """The row of it in the status of its pod."""
        runs = "running" in self.state
        ready = runs or (self.init and not self.sidecar and self.code == 0)
        had = bool(self.id)
        row: Obj = {
            "name": self.name,
            "state": copy.deepcopy(self.state),
            "lastState": copy.deepcopy(self.last),
            "ready": ready,
            "restartCount": self.restarts,
            "image": whole(self.spec["image"]) if had else self.spec["image"],
            "imageID": f"{whole(self.spec['image']).partition(':')[0]}@sha256:{'0' * 64}" if had else "",
            "started": runs,
        }
        if had:
            row["containerID"] = self.id
        return row


def write(status: Obj, containers: Sequence[Shown], phase: str, ip: str) -> None:
    """Show a pod, whose other conditions stay.

    Args:
        status: of the pod; is changed.
        containers: all of them.
        phase: of the pod.
        ip: its address, if it has one yet.
    """
    status["phase"] = phase
    status.setdefault("startTime", now())
    status["hostIP"] = "127.0.0.1"
    status["hostIPs"] = [{"ip": "127.0.0.1"}]
    if ip:
        status["podIP"], status["podIPs"] = ip, [{"ip": ip}]
    mains = [each for each in containers if not each.init]
    inits = [each for each in containers if each.init]
    status["containerStatuses"] = [each.row() for each in mains]
    if inits:
        status["initContainerStatuses"] = [each.row() for each in inits]
    ended = phase in ("Succeeded", "Failed")
    sandbox = bool(ip) and not ended
    set_condition(status, "PodReadyToStartContainers", "True" if sandbox else "False")
    _initialized(status, inits, phase)
    unready = [each.name for each in mains if "running" not in each.state]
    reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "ContainersNotReady")
    if unready or ended:
        message = "" if ended else f"containers with unready status: [{' '.join(unready)}]"
        for each in ("Ready", "ContainersReady"):
            set_condition(status, each, "False", reason, message)
    else:
        for each in ("Ready", "ContainersReady"):
            set_condition(status, each, "True")


def _initialized(status: Obj, inits: Sequence[Shown], phase: str) -> None:
    left = [each.name for each in inits if not (each.code == 0 or (each.sidecar and "running" in each.state))]
    if phase == "Succeeded":
        set_condition(status, "Initialized", "True", "PodCompleted")
    elif left and phase == "Pending":
        message = f"containers with incomplete status: [{' '.join(left)}]"
        set_condition(status, "Initialized", "False", "ContainersNotInitialized", message)
    elif phase != "Failed" or not left:
        set_condition(status, "Initialized", "True")
