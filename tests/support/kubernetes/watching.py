"""Changes told as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Self

from support.kubernetes.kinds import Kind, Obj
from support.kubernetes.refusals import gone
from support.kubernetes.selecting import Test, selector
from support.kubernetes.store import Change, Store

INITIAL_END = "k8s.io/initial-events-end"


@dataclass(frozen=True)
class Wanted:
    """What somebody watches."""

    kind: Kind
    namespace: str
    lets: Test
    version: int
    """From here on; 0 is from what there is now."""
    initial: bool
    """What there is now is told first."""
    marks_end: bool
    """And that it was."""
    bookmarks: bool
    timeout_s: float

    @classmethod
    def asked(cls, kind: Kind, namespace: str, query: Any, longest_s: float) -> Self:
        """What a request asks for.

        Raises:
            Refusal: a selector cannot be understood.
        """
        version = query.get("resourceVersion") or "0"
        streams = query.get("sendInitialEvents") == "true"
        wished = float(query.get("timeoutSeconds") or longest_s)
        return cls(
            kind,
            namespace,
            selector(query.get("labelSelector", ""), query.get("fieldSelector", "")),
            int(version),
            version == "0" or streams,
            streams,
            query.get("allowWatchBookmarks") in ("true", "1"),
            min(wished, longest_s),
        )


async def told(store: Store, wanted: Wanted, bookmark_s: float) -> AsyncGenerator[Obj]:
    """Events, until it has lasted long enough."""
    queue = asyncio.Queue[Change]()
    with closing(_Listening(store, queue)):
        version = store.version
        if wanted.initial:
            for each in store.all(wanted.kind, wanted.namespace):
                if wanted.lets(each):
                    yield {"type": "ADDED", "object": each}
            if wanted.marks_end:
                yield _bookmark(wanted.kind, version, ended=True)
        elif wanted.version < store.oldest:
            why = f"too old resource version: {wanted.version} ({store.oldest})"
            yield {"type": "ERROR", "object": gone(why).status()}
            return
        else:
            for change in store.since(wanted.version):
                queue.put_nowait(change)
        async for event in _following(store, wanted, queue, bookmark_s):
            yield event


class _Listening:
    def __init__(self, store: Store, queue: asyncio.Queue[Change]) -> None:
        self.close = store.listen(queue.put_nowait)


async def _following(
    store: Store, wanted: Wanted, queue: asyncio.Queue[Change], bookmark_s: float
) -> AsyncGenerator[Obj]:
    loop = asyncio.get_running_loop()
    ends = loop.time() + wanted.timeout_s
    while (left := ends - loop.time()) > 0:
        try:
            async with asyncio.timeout(min(left, bookmark_s)):
                change = await queue.get()
        except TimeoutError:
            if wanted.bookmarks:
                yield _bookmark(wanted.kind, store.version)
            continue
        if (event := _event(wanted, change)) is not None:
            yield event


def _event(wanted: Wanted, change: Change) -> Obj | None:
    """What a change is to who sees only a part."""
    if change.key.kind != wanted.kind.resource or wanted.namespace not in ("", change.key.namespace):
        return None
    was = change.old is not None and wanted.lets(change.old)
    is_so = change.new is not None and wanted.lets(change.new)
    if not was and not is_so:
        return None
    if not is_so:
        return {"type": "DELETED", "object": change.last}
    return {"type": "MODIFIED" if was else "ADDED", "object": change.last}


def _bookmark(kind: Kind, version: int, *, ended: bool = False) -> Obj:
    meta: Obj = {"resourceVersion": str(version), "creationTimestamp": None}
    if ended:
        meta["annotations"] = {INITIAL_END: "true"}
    return {
        "type": "BOOKMARK",
        "object": {"kind": kind.name, "apiVersion": kind.api_version, "metadata": meta},
    }
