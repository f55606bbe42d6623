"""Who serves a colony: the key of this executor, and its place among the executors of the colony.

With the key of the colony this executor makes a key of its own, once, and registers itself: after a restart
it is the same executor, so that what it had in hand is still its own. Without it, its own key was registered
by somebody beforehand.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.funcspec import FUNCTION, OURS, TYPE
from pollinator.executors.colonies.identity import Key
from pollinator.executors.colonies.messages import Executor
from pollinator.executors.colonies.refusals import Unanswered
from pollinator.executors.colonies.targets import APPROVED
from pollinator.executors.records import write_private
from pollinator.v1.colony_pb2 import Colony
from pollinator.wire.colony_env import colony_from_environment
from pollinator.wire.errors import AlreadyExists, Denied, InvalidInput, PollinatorError, Violation

COMPANY = timedelta(minutes=10)
"""Who waits for work is heard of more often."""
_OWNER = "COLONIES_COLONY_PRVKEY"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Membership:
    """What an executor is in a colony."""

    colony: Colony
    """The colony, with the key of this executor."""
    name: str
    """Under which it registers; empty where somebody else has registered it."""
    kind: str
    owner_key: str
    """Private key of the colony, or empty."""
    mark: Path
    """Says that this name was registered for this key."""
    location: str = ""
    """Where it is, as it says when it registers."""
    runs_in: Callable[[], str] = str
    """Where commands run now, as ``targets`` has words for it."""


def membership_from_environment(environ: Mapping[str, str], folder: Path) -> Membership:
    """What ``COLONIES_*`` say; the key of this executor is made here, once.

    Args:
        environ: variables.
        folder: where the key is kept.

    Raises:
        InvalidInput: they do not name a colony, or no executor in it; each variable that is wrong is named.
    """
    owner_key = environ.get(_OWNER, "").strip()
    name = environ.get("COLONIES_EXECUTOR_NAME", "")
    own = {"COLONIES_PRVKEY": _kept_key(_key_file(folder, name))} if owner_key else {}
    colony = colony_from_environment({**environ, **own})
    wrong: list[Violation] = []
    if colony is None:
        wrong.append(Violation("COLONIES_SERVER_HOST", "is not set, nor is any other variable of a colony"))
    if owner_key and not name:
        wrong.append(Violation("COLONIES_EXECUTOR_NAME", "is not set: this executor registers under it"))
    if owner_key and not _is_key(owner_key):
        wrong.append(Violation(_OWNER, "is no private key: 64 hexadecimal digits"))
    if wrong or colony is None:
        raise InvalidInput(
            "the environment does not name a colony that can be served",
            reason="bad_colony",
            hint="docs/colonies.md lists the variables",
            violations=wrong,
        )
    kind = environ.get("COLONIES_EXECUTOR_TYPE", "") or TYPE
    location = environ.get("COLONIES_EXECUTOR_LOCATION", "")
    return Membership(colony, name, kind, owner_key, folder / "registered", location)


async def join(client: Client, member: Membership) -> None:
    """Have this executor among those that may take work. Nothing changes where it is.

    Raises:
        Denied: it is not, and nothing here can change that.
        PollinatorError: the server does not answer, or refuses.
    """
    found = await _found(client)
    if found is not None and found.state == APPROVED:
        if member.location not in ("", found.location):
            _log.warning(
                "the colony has %s at %r, not at %r: that stays as it was registered, under one name",
                found.name,
                found.location,
                member.location,
            )
        await _keep_up(client, member, found)
        return
    if not member.owner_key:
        raise Denied(
            f"the colony {client.colony} does not know this executor, or nobody has approved it",
            reason="colony_denied",
            hint=f"its identity is {client.rpc.identity}: register and approve it, or set {_OWNER}",
        )
    owner = Client(_with_key(member))
    try:
        if found is None:
            await _register(owner, member, client.rpc.identity)
        await owner.approve_executor(member.name)
    finally:
        await owner.close()
    _log.info("registered with colony %s as %s, %s", client.colony, member.name, member.kind)
    try:
        await client.add_function(member.name, FUNCTION)
    except PollinatorError as error:
        # For people who look at the colony; nothing depends on it.
        _log.info("the colony does not list what this executor can do: %s", error.message)


async def look_around(client: Client, member: Membership) -> bool:
    """Keep what the colony says of this executor true, and see who else there is.

    Returns:
        Others of this type were heard of not long ago: they may wait for work as well.
    """
    since = datetime.now(UTC) - COMPANY
    executors = await client.executors()
    for each in executors:
        if each.id == client.rpc.identity:
            await _keep_up(client, member, each)
    return any(
        each.type == member.kind
        and each.state == APPROVED
        and each.id != client.rpc.identity
        and each.last_heard is not None
        and each.last_heard > since
        for each in executors
    )


async def _found(client: Client) -> Executor | None:
    """This executor as the colony has it; None when it is no member."""
    try:
        found = await client.executors()
    except Denied:
        return None
    return next((each for each in found if each.id == client.rpc.identity), None)


async def _keep_up(client: Client, member: Membership, found: Executor) -> None:
    """Say anew what this executor is made of, where that is not so any more.

    What somebody else has registered is theirs to say.
    """
    if found.software.get(OURS) in (None, member.runs_in()):
        return
    try:
        await client.update_executor(found.name, {"software": [_made_of(member)]})
    except PollinatorError as error:
        _log.info("the colony is not told what this executor is made of: %s", error.message)


async def _register(owner: Client, member: Membership, identity: str) -> None:
    mark = json.dumps([owner.rpc.server, owner.colony, member.name, identity])
    try:
        await _add(owner, member, identity)
    except Unanswered:
        # It may be there now: from here on the name is taken to be ours.
        write_private(member.mark, mark.encode())
        raise
    except AlreadyExists as error:
        # A server keeps those it has removed, under their names. What was ours once is ours.
        if _text(member.mark) != mark:
            raise AlreadyExists(
                f"the colony {owner.colony} has another executor named {member.name}",
                reason="colony_exists",
                hint="set COLONIES_EXECUTOR_NAME to a name that is free",
            ) from error
    write_private(member.mark, mark.encode())


async def _add(owner: Client, member: Membership, identity: str) -> None:
    made_of = _made_of(member)
    try:
        await owner.add_executor(
            identity, member.name, member.kind, {"software": [made_of]}, location=member.location
        )
    except InvalidInput:
        # Servers before 1.9.6 take one only.
        await owner.add_executor(identity, member.name, member.kind, {"software": made_of})


def _made_of(member: Membership) -> dict[str, str]:
    """By this whoever submits work knows that it may be in words of our own, and whether images are used."""
    return {"name": OURS, "type": member.runs_in(), "version": importlib.metadata.version("pollinatord")}


def _with_key(member: Membership) -> Colony:
    colony = Colony()
    colony.CopyFrom(member.colony)
    colony.private_key = member.owner_key
    return colony


def _key_file(folder: Path, name: str) -> Path:
    """By another name it is another executor."""
    return folder / f"key.{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"


def _kept_key(path: Path) -> str:
    """The key of this executor: made at its first start, and the same ever after."""
    text = _text(path)
    if not text:
        text, _ = Key.new()
        write_private(path, text.encode())
    return text


def _is_key(text: str) -> bool:
    try:
        Key(text)
    except InvalidInput:
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except FileNotFoundError:
        return ""
