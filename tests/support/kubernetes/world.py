"""A cluster as it is set up: what it knows, and how it behaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from support.kubernetes.access import Access
from support.kubernetes.admission import Admission
from support.kubernetes.api import Api
from support.kubernetes.defaults import TOLERATION_S
from support.kubernetes.kinds import BUILT_IN, KUEUE, PENDING, Kind
from support.kubernetes.store import Store

NODES = {f"n{number}": {"cpu": "4", "memory": "4Gi", "pods": "110"} for number in (1, 2, 3)}


@dataclass
class Settings:
    """How it is set up; times are shorter than those of a real one, where nobody would wait so long."""

    folder: str = ""
    """For what containers print and keep."""
    nodes: dict[str, dict[str, str]] = field(
        default_factory=lambda: {name: dict(has) for name, has in NODES.items()}
    )
    """What each has."""
    labels: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    """Of nodes, besides those that all have."""
    bookmark_s: float = 2.0
    longest_watch_s: float = 1800.0
    node_grace_s: float = 1.0
    """After so long a node that is not heard of is not ready."""
    toleration_s: int = TOLERATION_S
    """After so much longer its pods are deleted, unless they say otherwise."""
    pull_s: float = 0.0
    """So long it takes to pull an image that a node does not have."""
    back_off_s: float = 1.0
    """So long at first until what failed is tried again."""
    groups: bool = True
    """The kernel holds containers to their memory, where it may be asked to; else they are looked at."""
    kueue: bool = False
    """There is Kueue."""
    admits: bool = True
    """Kueue lets in what comes."""


class World:
    """All that a cluster is, but for those who act in it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store()
        self.access = Access(self.store)
        self.admission = Admission(self.store, toleration_s=settings.toleration_s)
        self.api = Api(self.store, self.admission)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is served."""
        return (*BUILT_IN, *KUEUE, PENDING) if self.settings.kueue else BUILT_IN

    @property
    def folder(self) -> Path:
        """For what containers print and keep."""
        return Path(self.settings.folder)

    def log_of(self, uid: str, container: str) -> Path:
        """What a container of a pod prints."""
        return self.folder / "pods" / uid / f"{container}.log"
