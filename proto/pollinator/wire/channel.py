"""Channels to a daemon or an executor, by address."""

from __future__ import annotations

import grpc

from pollinator.wire.errors import InvalidInput

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Specs, listings and diffs stay far below this; bulk data travels in blocks of 64 KiB."""


_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A daemon that comes back within a second must be found within a second.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.use_local_subchannel_pool", 1),
)

# In truth how long a try to connect may take at the least. Else none takes longer than half a second, and
# over TLS the first word takes three round trips.
_LONG_LINE = tuple(
    (name, 20_000 if name == "grpc.min_reconnect_backoff_ms" else value) for name, value in _OPTIONS
)


def open_channel(address: str, *, long_line: bool = False) -> grpc.aio.Channel:
    """A channel to ``unix:PATH``; it connects when first used.

    Args:
        address: of a socket.
        long_line: it leads to another machine, whose first word may take its time.

    Raises:
        InvalidInput: the address is of no kind that is safe to use.
    """
    return grpc.aio.insecure_channel(_safe(address), options=_LONG_LINE if long_line else _OPTIONS)


def open_blocking_channel(address: str, *, long_line: bool = False) -> grpc.Channel:
    """The same for threads that wait, as those that move files do."""
    return grpc.insecure_channel(_safe(address), options=_LONG_LINE if long_line else _OPTIONS)


def _safe(address: str) -> str:
    if not address.startswith("unix:"):
        raise InvalidInput(
            f"cannot connect to {address!r}", reason="bad_address", hint="an address looks like unix:/path"
        )
    return address
