"""A user and an executor of a colony who play one process through, with questions written out by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from support.colonies.asking import Member, Said
from support.colonies.sites import Site
from support.sandbox import wait_until

WAITING, RUNNING, SUCCESS, FAILED, CANCELLED = range(5)


@dataclass
class Play:
    """Two members, and what they ask."""

    site: Site
    kind: str = ""
    """Type of the executor."""
    user: Member = field(init=False)
    executor: Member = field(init=False)

    def __post_init__(self) -> None:
        self.kind = self.kind or self.site.fresh("kind")
        self.user = self.site.user()
        self.executor = self.site.executor(kind=self.kind)

    def spec(self, conditions: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        """A function spec that the executor is given, unless it says otherwise."""
        given = {"colonyname": self.site.name, "executortype": self.kind, **(conditions or {})}
        return {"funcname": "execute", "maxexectime": -1, "maxretries": 3, "conditions": given, **fields}

    def submitted(self, conditions: dict[str, Any] | None = None, **fields: Any) -> Said:
        """Submit one."""
        return self.site.line.ask(self.user, "submitfuncspecmsg", spec=self.spec(conditions, **fields))

    def submit(self, conditions: dict[str, Any] | None = None, **fields: Any) -> str:
        """Submit one; its id."""
        return str(self.submitted(conditions, **fields).granted["processid"])

    def assign(self, executor: Member | None = None, timeout: int = -1, **fields: Any) -> Said:
        """Ask for work."""
        asked = {"colonyname": self.site.name, "timeout": timeout, **fields}
        return self.site.line.ask(executor or self.executor, "assignprocessmsg", **asked)

    def run(self, conditions: dict[str, Any] | None = None, **fields: Any) -> str:
        """Submit one and take it; its id."""
        process_id = self.submit(conditions, **fields)
        assert process_id == self.assign().granted["processid"]
        return process_id

    def get(self, process_id: str) -> Any:
        """A process as it is."""
        return self.site.line.ask(self.user, "getprocessmsg", processid=process_id).granted

    def wait_for(self, process_id: str, state: int, timeout_s: float = 20.0) -> None:
        """Wait until a process is in this state."""
        wait_until(lambda: self.get(process_id)["state"] == state, f"it is in state {state}", timeout_s)

    def why(self, process_id: str) -> list[str]:
        """What a process has failed of: a server tells that a moment after it has failed."""
        wait_until(lambda: self.get(process_id)["errors"], "why it failed is told")
        errors: list[str] = self.get(process_id)["errors"]
        return errors

    def close(self, process_id: str, *output: Any) -> Said:
        """Say that it went well."""
        kind = "closesuccessfulmsg"
        return self.site.line.ask(self.executor, kind, processid=process_id, out=list(output))

    def fail(self, process_id: str, *errors: str) -> Said:
        """Say that it did not."""
        kind = "closefailedmsg"
        return self.site.line.ask(self.executor, kind, processid=process_id, errors=list(errors))

    def cancel(self, process_id: str) -> Said:
        """Cancel one."""
        return self.site.line.ask(self.user, "cancelprocessmsg", processid=process_id)

    def log(self, process_id: str, text: str) -> Said:
        """Add a row to its log."""
        return self.site.line.ask(self.executor, "addlogmsg", processid=process_id, message=text)

    def logs(self, process_id: str, count: int = 500, since: int = 0, **fields: Any) -> Said:
        """Rows of its log."""
        asked = {"colonyname": self.site.name, "processid": process_id, "count": count, "since": since}
        return self.site.line.ask(self.user, "getlogsmsg", **asked, **fields)
