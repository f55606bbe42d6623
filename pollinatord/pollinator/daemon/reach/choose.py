"""Which way leads to an address."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pollinator.daemon.reach.kube import Kube
from pollinator.daemon.reach.local import further_process
from pollinator.daemon.reach.served import Served
from pollinator.daemon.reach.ssh import SshTransport
from pollinator.daemon.reach.tls import Secured
from pollinator.daemon.reach.transport import Place, Transport
from pollinator.daemon.reach.wheels import Wheels
from pollinator.wire.errors import InvalidInput, Violation

FORMS = ("ssh://user@host", "grpcs://host:port", "kube://context/namespace", "local:/folder", "unix:/path")


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
    if scheme in ("grpcs", "kube") and name.startswith("tls."):
        return ""
    if scheme == "local" or (scheme == "kube" and name.startswith("kube.")):
        return ""
    return "belongs to whoever starts that executor: pollinator-executor KIND --set NAME=VALUE"


class Ways:
    """Makes transports, with what they share.

    Args:
        state: folder for those of this machine.
        ssh: how ssh is called.
    """

    def __init__(self, state: Path, ssh: Sequence[str] = ("ssh",)) -> None:
        self._state = state
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
            case "local":
                return further_process(place, self._state)
            case "kube" if rest.startswith("//"):
                return Kube(place)
            case "ssh":
                return SshTransport(place, self._ssh, self._wheels)
            case _:
                raise InvalidInput(
                    f"{place.address!r} is no address of an executor",
                    reason="bad_address",
                    hint=f"an address looks like {', '.join(FORMS)}",
                )
