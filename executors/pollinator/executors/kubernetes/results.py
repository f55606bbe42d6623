"""The results of a run whose nodes have stored them each by itself: as one, and what there is to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pollinator.chunks.join import join
from pollinator.chunks.store import Store
from pollinator.executors.base import Fetched
from pollinator.v1.run_pb2 import Notice, Severity
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Corrupt

NAMED = 10
"""So many files that several nodes had are named."""


def joined(store: Store, ends: Mapping[int, Mapping[str, Any]], lost: Mapping[int, str]) -> Fetched:
    """What became of the results.

    Args:
        store: where each node has stored its own.
        ends: the last page of each node that has told all.
        lost: nodes that have not, and why.

    Raises:
        PollinatorError: the store does not answer.
    """
    notices: list[Notice] = []
    parts: list[SnapshotRef] = []
    several = len(ends) + len(lost) > 1
    for node, end in sorted(ends.items()):
        where = f" (node {node})" if several else ""
        notices += [_notice(f"not collected: {each}{where}") for each in end.get("skipped", ())]
        if end.get("failed"):
            notices.append(_notice(f"the results of node {node} could not be stored: {end['failed']}"))
        if end.get("result"):
            parts.append(_ref(node, end["result"]))
    if parts:
        # Of a run that has left none at all others say so.
        notices += [
            _notice(f"not collected: {end['none']} (node {node})")
            for node, end in sorted(ends.items())
            if end.get("none")
        ]
    notices += [_notice(f"the results of node {node} are lost: {why}") for node, why in sorted(lost.items())]
    if len(parts) < 2:
        return Fetched(parts[0] if parts else None, notices)
    done = join(store, parts)
    return Fetched(done.ref, [*notices, *_replaced(done.replaced)])


def without(ends: Mapping[int, Mapping[str, Any]], lost: Mapping[int, str]) -> list[str]:
    """Which nodes have not stored their results, and why."""
    failed = {node: str(end["failed"]) for node, end in ends.items() if end.get("failed")}
    return [f"those of node {node} are lost: {why}" for node, why in sorted({**failed, **lost}.items())]


def kept_of(ends: Mapping[int, Mapping[str, Any]]) -> dict[int, SnapshotRef]:
    """What nodes have left for the next attempt."""
    return {node: _ref(node, end["result"]) for node, end in ends.items() if end.get("result")}


def _replaced(paths: Sequence[str]) -> list[Notice]:
    texts = [
        f"several nodes left their own result/{each}: that of the last is kept" for each in paths[:NAMED]
    ]
    if len(paths) > NAMED:
        texts.append(f"several nodes left their own of {len(paths) - NAMED} more files")
    return [_notice(text, "result_of_last_node") for text in texts]


def _ref(node: int, said: Mapping[str, Any]) -> SnapshotRef:
    try:
        return SnapshotRef(key=str(said["key"]), digest=bytes.fromhex(said["digest"]))
    except (KeyError, ValueError, TypeError) as error:
        raise Corrupt(f"node {node} does not say where its results are", reason="bad_page") from error


def _notice(text: str, code: str = "not_collected") -> Notice:
    return Notice(severity=Severity.SEVERITY_WARNING, code=code, text=text)
