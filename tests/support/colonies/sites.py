"""A colony for tests: of the double, or of a real server that the environment names.

- ``POLLINATOR_TEST_COLONIES_HOST`` and ``POLLINATOR_TEST_COLONIES_PORT``: of the real server.
- ``POLLINATOR_TEST_COLONIES_NAME``: of a colony of it.
- ``POLLINATOR_TEST_COLONIES_KEY``: the private key of the colony's owner, who adds users and executors.
- ``AWS_S3_*``, as the original programs know them: a bucket for the bytes of its files.
- ``POLLINATOR_TEST_COLONIES_STALE``: after so many seconds the server gives up executors that are silent.
- ``POLLINATOR_TEST_COLONIES_STOP`` and ``POLLINATOR_TEST_COLONIES_START``: commands that do so to the server.

What only the double can do, as cutting lines, is then skipped: such tests are marked ``double_only``, and say
what it is. CONTRIBUTING.md tells of it as well.
"""

from __future__ import annotations

import itertools
import secrets
import shlex
import subprocess
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pytest

from pollinator.v1.colony_pb2 import Colony
from pollinator.v1.store_pb2 import S3Store
from pollinator.wire.store_env import store_settings_from_environment
from support.colonies.asking import Line, Member, stranger
from support.colonies.double import Double
from support.private import CALLER
from support.s3_servers import S3Server

_PREFIX = "POLLINATOR_TEST_COLONIES_"
SWEEP_S = 60.0
"""So often a real server looks for executors that are silent."""
_LONGEST_S = 60.0
"""Nobody waits longer for that it gives one up."""
_NUMBERS = itertools.count()


@dataclass
class Site:
    """A colony, and its owner's hand."""

    line: Line
    name: str
    owner: Member
    there: Double | None = None
    """Where the double answers."""
    mark: str = field(default_factory=lambda: secrets.token_hex(4))
    """Ends every name that is made here: a real server has others."""
    stale_s: float = 600.0
    """After so long a real server gives up executors that are silent."""
    commands: Mapping[str, str] = field(default_factory=dict[str, str])
    """Those that stop and start a real server."""

    users: list[Member] = field(default_factory=list[Member], init=False)
    """Those that were made here."""

    @property
    def double(self) -> Double:
        """The double. Who needs it is marked ``double_only``, with the reason."""
        if self.there is None:
            pytest.fail("a test that needs the double of the Colonies server is not marked double_only")
        return self.there

    @property
    def is_real(self) -> bool:
        """A real server answers."""
        return self.there is None

    def clear_faults(self) -> None:
        """Have everything go well again."""
        if self.there is not None:
            self.there.clear_faults()

    @contextmanager
    def stopped(self) -> Generator[None]:
        """Nobody answers for a while, and nothing is forgotten."""
        if self.is_real and not all(self.commands.values()):
            pytest.skip(f"{_PREFIX}STOP and {_PREFIX}START do not say how the server is stopped")
        self._do("stop")
        try:
            yield
        finally:
            self._do("start")

    def _do(self, what: str) -> None:
        if self.there is None:
            subprocess.run(shlex.split(self.commands[what]), check=True, stdout=subprocess.DEVNULL)
        elif what == "stop":
            self.there.stop()
        else:
            self.there.start()

    @contextmanager
    def forgetful(self, stale_s: float, sweep_s: float) -> Generator[float]:
        """Executors that are silent are given up, by the double after so long; yields when at the latest."""
        if self.there is not None:
            with self.there.settings(stale_s=stale_s, sweep_s=sweep_s):
                yield stale_s + sweep_s
        elif self.stale_s > _LONGEST_S:
            pytest.skip(f"{_PREFIX}STALE does not name a time that can be waited for")
        else:
            yield self.stale_s + SWEEP_S

    def fresh(self, name: str) -> str:
        """A name that nothing has yet."""
        return f"{name}-{self.mark}-{next(_NUMBERS)}"

    def user(self, name: str = "user") -> Member:
        """A new user."""
        member = stranger(self.fresh(name))
        user = {"colonyname": self.name, "userid": member.identity, "name": member.name}
        self.line.ask(self.owner, "addusermsg", user=user).granted  # noqa: B018 - fails where it is refused
        self.users.append(member)
        return member

    def executor(self, name: str = "executor", kind: str = "", *, approved: bool = True) -> Member:
        """A new executor, of a type of its own unless one is named."""
        member = stranger(self.fresh(name))
        executor = {
            "executorid": member.identity,
            "executorname": member.name,
            "executortype": kind or f"type-{member.name}",
            "colonyname": self.name,
        }
        self.line.ask(self.owner, "addexecutormsg", executor=executor).granted  # noqa: B018
        if approved:
            self.approve(member)
        return member

    def tidy(self) -> None:
        """Cancel what was submitted here and has not ended: a server looks at the first 1000 that wait only.

        What runs would wait again as soon as its executor is given up.
        """
        for user in self.users:
            for state in (0, 1):
                asked = {"colonyname": self.name, "count": 100, "state": state, "initiator": user.name}
                said = self.line.ask(user, "getprocessesmsg", **asked)
                # One of them may have been removed.
                found: list[Any] = (said.content or []) if said.status == 200 else []
                for each in found:
                    self.line.ask(user, "cancelprocessmsg", processid=each["processid"])

    def approve(self, member: Member) -> None:
        """Let an executor take work."""
        named = {"colonyname": self.name, "executorname": member.name}
        self.line.ask(self.owner, "approveexecutormsg", **named).granted  # noqa: B018

    # What is there, of a real server as well

    @cached_property
    def watcher(self) -> Member:
        """A user who looks only."""
        return self.user("watcher")

    def look(self, kind: str, **fields: Any) -> Any:
        """What the colony answers to a question that changes nothing."""
        return self.line.ask(self.watcher, kind, colonyname=self.name, **fields).granted

    def process(self, process_id: str) -> Any:
        """A process."""
        return self.look("getprocessmsg", processid=process_id)

    def processes(self, **which: str) -> list[Any]:
        """Processes by ``executortype``, ``initiator`` or ``label``; at most 100 of each state."""
        found: list[Any] = []
        for state in range(5):
            found += self.look("getprocessesmsg", count=100, state=state, **which) or []
        return found

    def printed(self, process_id: str) -> list[str]:
        """Rows of a log, up to the most that are given at once."""
        rows: list[Any] = self.look("getlogsmsg", processid=process_id, count=500, since=0) or []
        return [each["message"] for each in rows]

    def executor_named(self, name: str) -> Any:
        """An executor."""
        return self.look("getexecutormsg", executorname=name)

    def stored(self, label: str) -> dict[str, str]:
        """Paths below a label, with the checksums of the newest revisions."""
        rows: list[Any] = self.look("getfilelabelsmsg", name=label, exact=False) or []
        labels = [each["name"] for each in rows]
        return {
            f"{below}/{file['name']}".removeprefix(f"{label}/"): file["checksum"]
            for below in labels
            if f"{below}/".startswith(f"{label}/")
            for file in self.look("getfilesmsg", label=below)
        }

    # For programs

    def seen_by(self, member: Member, files: S3Store | None = None) -> Colony:
        """The colony as our programs are told of it."""
        return Colony(
            host=self.line.host,
            port=self.line.port,
            name=self.name,
            private_key=member.key,
            files=files,
        )

    def environment(self, member: Member) -> dict[str, str]:
        """The same as variables, which the original programs understand as well."""
        return {
            "COLONIES_SERVER_HOST": self.line.host,
            "COLONIES_SERVER_PORT": str(self.line.port),
            "COLONIES_TLS": "false",
            "COLONIES_SERVER_TLS": "false",
            "COLONIES_COLONY_NAME": self.name,
            "COLONIES_PRVKEY": member.key,
        }


def real_site(environ: Mapping[str, str]) -> Site | None:
    """The colony that the environment names, or None."""
    named = {name: environ.get(_PREFIX + name, "") for name in ("HOST", "PORT", "NAME", "KEY")}
    if not any(named.values()):
        return None
    missing = [_PREFIX + name for name, value in named.items() if not value]
    if missing:
        pytest.fail(f"not set, but others are: {', '.join(missing)}")
    line = Line(named["HOST"], int(named["PORT"]))
    return Site(
        line,
        named["NAME"],
        Member("owner", named["KEY"]),
        stale_s=float(environ.get(f"{_PREFIX}STALE", "600")),
        commands={what: environ.get(_PREFIX + what.upper(), "") for what in ("stop", "start")},
    )


def site_of(double: Double) -> Site:
    """A new colony of a double."""
    owner = stranger("owner")
    name = f"colony-{secrets.token_hex(4)}"
    colony = {"colonyid": owner.identity, "name": name}
    double.line.ask(double.owner, "addcolonymsg", colony=colony).granted  # noqa: B018
    return Site(double.line, name, owner, double)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip at a real server, before anything is set up, what only the double does."""
    mark = item.get_closest_marker("double_only")
    elsewhere = "kubernetes" in item.path.parts
    if mark is not None and not elsewhere and real_site(CALLER) is not None:
        pytest.skip(f"only the double of the Colonies server {mark.args[0]}")


@contextmanager
def some_site() -> Generator[Site]:
    """A colony without members; of the real server, one with those that it has."""
    if (real := real_site(CALLER)) is not None:
        yield real
        real.tidy()
        return
    with Double() as double:
        yield site_of(double)


@pytest.fixture(scope="module")
def colony() -> Iterator[Site]:
    """A colony."""
    with some_site() as site:
        yield site


class GivenS3(S3Server):
    """The bucket that the environment names. Whoever runs the server starts and stops it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        settings = store_settings_from_environment(environ)
        if settings is None or not settings.HasField("s3"):
            pytest.fail("AWS_S3_* name no bucket for the files of the colony")
        super().__init__("", None)
        self.endpoint, self.bucket = settings.s3.endpoint, settings.s3.bucket
        self.access_key, self.secret_key = settings.s3.access_key, settings.s3.secret_key

    def start(self) -> None:
        raise AssertionError("it was never stopped")

    def stop(self) -> None:
        pytest.skip("only an S3 server of the tests is stopped")


@pytest.fixture(scope="module")
def colony_s3(request: pytest.FixtureRequest, colony: Site) -> S3Server:
    """Where the bytes of the colony's files are."""
    return bucket_of(colony, request)


def bucket_of(site: Site, request: pytest.FixtureRequest) -> S3Server:
    """Where the bytes of a colony's files are."""
    if site.is_real:
        return GivenS3(CALLER)
    server: S3Server = request.getfixturevalue("rclone_s3")
    return server
