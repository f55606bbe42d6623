"""Starting and asking the resident engine of ``resident_process``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.process import Companion, resident_mb


@dataclass(frozen=True, slots=True)
class Seal:
    """One snapshot, as the engine reports it."""

    engine_ms: float
    """What the seal took in the engine, requests included."""
    cpu_ms: float
    """CPU time of the whole process since the last mark or seal."""
    requests: int
    trees: tuple[str, ...]
    key: str
    digest: str


class Resident(Companion):
    """A project that is open in a process of its own."""

    def __init__(self, root: Path, index: Path, env: Mapping[str, str]) -> None:
        super().__init__("resident_process", str(root), str(index), env=env)

    @property
    def peak_mb(self) -> float:
        """The most memory it had."""
        return resident_mb(self.pid, "VmHWM")

    def mark(self) -> None:
        """Count CPU time from here."""
        self.ask("mark")

    def settle(self) -> int:
        """Wait until everything is in the store and nothing is left to do; returns the number of files."""
        return int(self.ask("settle")["files"])

    def seal(self) -> Seal:
        """Publish what is on disk now."""
        [seal] = self.seals(1)
        return seal

    def seals(self, count: int) -> list[Seal]:
        """Publish so many times in a row."""
        return [
            Seal(
                each["engine_ms"],
                each["cpu_ms"],
                each["requests"],
                tuple(each["trees"]),
                each["key"],
                each["digest"],
            )
            for each in self.ask(f"seal {count}")["seals"]
        ]

    def looks(self, count: int) -> int:
        """How often the project, or a folder above it, is looked at while so many snapshots are published."""
        return int(self.ask(f"looks {count}")["looks"])
