"""What a store holds before anything was put there from here, as all who keep something in it say.

Who lost the index, or has the project on another machine as well, need not send what is there. Only what is
rooted in this moment counts, and of that only what is there and not to be removed: so the argument of
docs/decisions/0013-garbage.md covers it as it covers what one has put there oneself.
"""

from __future__ import annotations

import logging
from collections.abc import Container, Iterator, Mapping

from pollinator.chunks.keeping import read_ref
from pollinator.chunks.keys import PACK, REF
from pollinator.chunks.read import read_footer
from pollinator.chunks.store import Store
from pollinator.v1.keeping_pb2 import KeepReason
from pollinator.v1.tree_pb2 import PackIndex
from pollinator.wire.errors import Corrupt, Denied, InvalidInput, NotFound, WrongState

_log = logging.getLogger(__name__)


def rows_held(store: Store, condemned: Container[str]) -> list[PackIndex]:
    """Rows of packs that are there. None where that cannot be told: then everything is sent.

    Args:
        store: where.
        condemned: what is to be removed; looked up before anything is read here.

    Raises:
        PollinatorError: the store does not answer.
    """
    try:
        refs = list(store.keys(f"{REF}/"))
        if not refs:
            return []
        sizes = {each.key: each.size for each in store.listing() if each.key not in condemned}
        named = {key for ref in refs for key in _named(store, ref)}
        rows = _rows(store, named, sizes)
    except (Corrupt, Denied, InvalidInput, NotFound, WrongState) as error:
        _log.info("cannot tell what %s holds, so all is sent: %s", store.identity, error.message)
        return []
    return [row for key, row in rows.items() if key in sizes]


def _named(store: Store, ref: str) -> Iterator[str]:
    """The last snapshot that a client sealed, and what it has put since then."""
    said = read_ref(store, ref)
    yield from (each.snapshot.key for each in said.kept if each.why == KeepReason.KEEP_REASON_HEAD)
    yield from said.packs


def _rows(store: Store, named: set[str], sizes: Mapping[str, int]) -> dict[str, PackIndex]:
    """What these objects hold and list. Lists come first: of a pack in one of them nothing need be read."""
    rows: dict[str, PackIndex] = {}
    waiting = sorted(named, key=lambda key: key[:1] != PACK)
    seen = set(waiting)
    while waiting:
        key = waiting.pop()
        if key not in sizes or key in rows:
            continue
        footer = read_footer(store, key, sizes[key])
        rows.update((row.key, row) for row in footer.packs)
        if footer.entries:
            rows[key] = PackIndex(key=key, entries=footer.entries)
        waiting += [each for each in footer.indexes if each not in seen]
        seen.update(footer.indexes)
    return rows
