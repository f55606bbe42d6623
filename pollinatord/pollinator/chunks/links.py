"""Where symbolic links of a tree lead: one that leaves the tree is laid out only where that is allowed."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from pollinator.chunks.nodes import shown
from pollinator.wire.errors import InvalidInput

LINK_HOPS = 40
"""Systems give up after so many links, too."""


def link_leaves(path: bytes, target: bytes) -> bool:
    """A link at ``path`` (relative to the root of its tree) to ``target`` points outside of the tree."""
    return chain_leaves(path, target, {})


def chain_leaves(path: bytes, target: bytes, links: Mapping[bytes, bytes]) -> bool:
    """The same when ``target`` may go through other links of the tree, given by path and target."""
    if target.startswith(b"/"):
        return True
    at = path.split(b"/")[:-1]
    ahead = deque(step for step in target.split(b"/") if step not in (b"", b"."))
    hops = 0
    while ahead:
        step = ahead.popleft()
        if step == b"..":
            if not at:
                return True
            at.pop()
            continue
        further = links.get(b"/".join([*at, step]))
        if further is None:
            at.append(step)
        elif further.startswith(b"/"):
            return True
        elif (hops := hops + 1) <= LINK_HOPS:
            ahead.extendleft(each for each in reversed(further.split(b"/")) if each not in (b"", b"."))
    return False


def refuse_link(path: bytes, target: bytes) -> InvalidInput:
    """The error for a link that leaves its tree."""
    return InvalidInput(
        f"the link {shown(path)} -> {shown(target)} leads out of the tree",
        reason="external_link",
        hint="copy what it points at into the tree, ignore it in .pollinatorignore, "
        "or set sync.allowExternalLinks: true in project.yaml",
    )
