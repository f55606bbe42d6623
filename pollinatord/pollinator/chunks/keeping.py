"""What keeps objects in a store and what is to be removed: refs, leases, lists of the condemned, moves.

``magic | BLAKE3 of the message | message``. What the messages mean is in keeping.proto, and who writes and
obeys them in docs/decisions/0013-garbage.md.
"""

from __future__ import annotations

import importlib.metadata
import logging
import socket
from typing import TypeVar

from google.protobuf.message import DecodeError

from pollinator.chunks.digest import DIGEST_BYTES, digest_of
from pollinator.chunks.keys import CONDEMNED, LEASE, MOVES, REF, client_key, pack_key
from pollinator.chunks.store import Store
from pollinator.v1.keeping_pb2 import Condemned, Lease, Moves, Ref
from pollinator.wire.errors import Corrupt, NotFound, WrongState

MAGIC = b"PLNKEEP1"
VERSION = 1
MAX_LEASE_BYTES = 64 * 1024

_Kind = TypeVar("_Kind", Ref, Lease, Condemned, Moves)
_log = logging.getLogger(__name__)


def write_ref(store: Store, client: str, ref: Ref) -> None:
    """Say what this client keeps; it is the only one who does."""
    store.put(client_key(REF, client), encode(ref))


def write_lease(store: Store, run_id: str, lease: Lease) -> None:
    """Say what a run needs; its executor is the only one who does."""
    store.put(client_key(LEASE, run_id), encode(lease))


def write_condemned(store: Store, client: str, condemned: Condemned) -> str:
    """Say what this client means to remove; returns the key."""
    key = client_key(CONDEMNED, client)
    store.put(key, encode(condemned))
    return key


def write_moves(store: Store, moves: Moves) -> str:
    """Say where chunks have been copied to; returns the key."""
    body = encode(moves)
    key = pack_key(MOVES, _name(body))
    store.put(key, body)
    return key


def read_ref(store: Store, key: str) -> Ref:
    """What a client keeps."""
    return _read(store, key, Ref)


def read_lease(store: Store, key: str) -> Lease:
    """What a run needs."""
    return _read(store, key, Lease)


def read_condemned(store: Store, key: str) -> Condemned:
    """What a client means to remove."""
    return _read(store, key, Condemned)


def read_moves(store: Store, key: str) -> Moves:
    """Where chunks have been copied to."""
    return _read(store, key, Moves)


def condemned_keys(store: Store) -> set[str]:
    """All that anybody means to remove."""
    found: set[str] = set()
    for key in list(store.keys(f"{CONDEMNED}/")):
        try:
            found.update(each.key for each in read_condemned(store, key).objects)
        except NotFound:
            continue  # its writer has just removed it
    return found


def all_moves(store: Store) -> dict[str, Moves]:
    """All moves, by key. One that is removed meanwhile is needed by nobody."""
    found: dict[str, Moves] = {}
    for key in list(store.keys(f"{MOVES}/")):
        try:
            found[key] = read_moves(store, key)
        except NotFound:
            continue
    return found


def verify_lease(key: str, body: bytes) -> None:
    """Check that these bytes are a lease.

    Raises:
        Corrupt: they are not.
    """
    if len(body) > MAX_LEASE_BYTES:
        raise Corrupt(f"{key} is too large for a lease", reason="bad_keeping")
    _decode(key, body, Lease)


def encode(message: Ref | Lease | Condemned | Moves) -> bytes:
    """The object's bytes."""
    message.version = VERSION
    if not isinstance(message, Moves):
        # Moves are named by their content, which must not depend on who wrote them.
        message.writer = f"pollinator {importlib.metadata.version('pollinatord')} at {socket.gethostname()}"
    plain = message.SerializeToString(deterministic=True)
    return MAGIC + digest_of(plain) + plain


def _read(store: Store, key: str, kind: type[_Kind]) -> _Kind:
    body = store.get(key)
    try:
        return _decode(key, body, kind)
    except Corrupt as error:
        # Damaged on its way, perhaps: once more from the store before giving up.
        _log.warning("%s; reading it again", error.message)
        return _decode(key, store.get(key), kind)


def _decode(key: str, body: bytes, kind: type[_Kind]) -> _Kind:
    plain = body[len(MAGIC) + DIGEST_BYTES :]
    if body[: len(MAGIC)] != MAGIC or digest_of(plain) != _name(body):
        raise Corrupt(f"{key} is damaged", reason="bad_keeping")
    if key[:1] == MOVES and pack_key(MOVES, _name(body)) != key:
        raise Corrupt(f"{key} is not what its name says", reason="bad_keeping")
    try:
        message = kind.FromString(plain)
    except DecodeError as error:
        raise Corrupt(f"{key} holds no {kind.__name__}: {error}", reason="bad_keeping") from error
    if message.version > VERSION:
        raise WrongState(
            f"{key} has format {message.version}; this version reads up to {VERSION}",
            reason="newer_format",
            hint="update this side",
        )
    return message


def _name(body: bytes) -> bytes:
    return body[len(MAGIC) : len(MAGIC) + DIGEST_BYTES]
