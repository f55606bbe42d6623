"""Which way leads to an address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pollinator.daemon.reach.served import Served
from pollinator.daemon.reach.ssh import SshTransport
from pollinator.daemon.reach.tls import Secured
from pollinator.daemon.reach.transport import Place, Transport
from pollinator.daemon.reach.wheels import Wheels
from pollinator.wire.errors import InvalidInput, Violation


def check_change(place: Place, names: Iterable[str]) -> None:
    """Settings with these names can be changed while runs are there.

    Raises:
        InvalidInput: one cannot, and why.
    """
    violations = [Violation(name, why) for name in names if (why := _unchangeable(place, name))]
    if violations:
        raise InvalidInput(
            f"some settings of executor {place.name} cannot be changed",
            reason="bad_setting",
            violations=violations,
        )


def _unchangeable(place: Place, name: str) -> str:
    scheme = place.address.partition(":")[0]
    if scheme == "ssh":
        return "its runs are there: add another executor with the other folder" if name == "ssh.dir" else ""
    if scheme == "grpcs" and name.startswith("tls."):
        return ""
    return "belongs to whoever starts that executor: pollinator-executor KIND --set NAME=VALUE"


class Ways:
    """Makes transports, with what they share."""

    def __init__(self, ssh: Sequence[str] = ("ssh",)) -> None:
        self._ssh = ssh
        self._wheels = Wheels()

    def to(self, place: Place) -> Transport:
        """The way to an executor that was added.

        Raises:
            InvalidInput: its address or a setting cannot be meant.
        """
        scheme, _, rest = place.address.partition(":")
        match scheme:
            case "unix" if rest.startswith("/"):
                return Served(place, Path(rest))
            case "grpcs" if rest.startswith("//"):
                return Secured(place, rest.removeprefix("//").rstrip("/"))
            case "ssh":
                return SshTransport(place, self._ssh, self._wheels)
            case _:
                raise InvalidInput(
                    f"{place.address!r} is no address of an executor",
                    reason="bad_address",
                    hint="an address looks like ssh://user@host, grpcs://host:port or unix:/path",
                )
