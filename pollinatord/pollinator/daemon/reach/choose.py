"""Which way leads to an address."""

from __future__ import annotations

from pathlib import Path

from pollinator.daemon.reach.served import Served
from pollinator.daemon.reach.transport import Place, Transport
from pollinator.wire.errors import InvalidInput


def transport_to(place: Place) -> Transport:
    """The way to an executor that was added.

    Raises:
        InvalidInput: its address or a setting cannot be meant.
    """
    scheme, _, rest = place.address.partition(":")
    match scheme:
        case "unix" if rest.startswith("/"):
            return Served(place, Path(rest))
        case _:
            raise InvalidInput(
                f"{place.address!r} is no address of an executor",
                reason="bad_address",
                hint="an address looks like ssh://user@host or unix:/path",
            )
