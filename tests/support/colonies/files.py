"""ColonyFS: what the server knows of files. The bytes are elsewhere."""

from __future__ import annotations

import random
import re
from typing import Any

from support.colonies.answers import answers
from support.colonies.decoding import maybe, message, text, truth, whole
from support.colonies.refusing import Refusal, storable
from support.colonies.world import World, new_id, now_ns

_OBJECT = message(
    server=text,
    port=whole,
    tls=truth,
    accesskey=text,
    secretkey=text,
    region=text,
    encryptionkey=text,
    encryptionalg=text,
    object=text,
    bucket=text,
)
_FILE = message(
    colonyname=text,
    label=text,
    name=text,
    size=whole,
    checksum=text,
    checksumalg=text,
    ref=message(protocol=text, s3object=_OBJECT),
)
_ONE = message(colonyname=text, fileid=text, label=text, name=text, latest=truth)
_SNAPSHOT = message(colonyname=text, snapshotid=text, name=text)


@answers("addfilemsg", message(file=maybe(_FILE)), "Failed to add log", "Failed to add file")
def _add_file(world: World, caller: str, asked: Any) -> Any:
    file = asked["file"]
    if file is None:
        raise Refusal(400, "Failed to add file, msg.File is nil")
    world.require_member(caller, file["colonyname"])
    texts = [each for each in (file | file["ref"]["s3object"]).values() if isinstance(each, str)]
    try:
        storable(*texts)
    except Refusal:
        # A defect of the server: it does not notice.
        return None
    world.sequence += 1
    file |= {"fileid": new_id(), "sequencenr": world.sequence, "added": now_ns()}
    file["ref"]["protocol"] = "s3"
    world.files[file["fileid"]] = file
    world.labels[file["colonyname"], file["label"]].setdefault(file["name"], []).append(file)
    return _shown(world, file)


def _shown(world: World, file: Any) -> Any:
    return {**file, "added": world.moment(file["added"])}


@answers("getfilemsg", _ONE, "Failed to add log", "Failed to get file")
def _get_file(world: World, caller: str, asked: Any) -> Any:
    colony = asked["colonyname"]
    world.require_member(caller, colony)
    if asked["fileid"]:
        file = world.files.get(asked["fileid"])
        if file is None or file["colonyname"] != colony:
            raise Refusal(400, "Failed to get file")
        return [_shown(world, file)]
    if not asked["label"] or not asked["name"]:
        raise Refusal(500, "malformatted get file msg")
    storable(asked["label"], asked["name"])
    found = world.labels[colony, asked["label"]].get(asked["name"], [])[::-1]
    if not found:
        raise Refusal(404, "Failed to get file")
    return [_shown(world, each) for each in found[: 1 if asked["latest"] else None]]


@answers("getfilesmsg", message(colonyname=text, label=text), "Failed to get files")
def _get_files(world: World, caller: str, asked: Any) -> Any:
    world.require_member(caller, asked["colonyname"])
    storable(asked["label"])
    newest = [revisions[-1] for revisions in world.labels[asked["colonyname"], asked["label"]].values()]
    return _in_no_order(
        {
            "name": each["name"],
            "checksum": each["checksum"],
            "size": each["size"],
            "s3filename": each["ref"]["s3object"]["object"],
        }
        for each in newest
    )


def _in_no_order(found: Any) -> list[Any]:
    mixed = list(found)
    random.shuffle(mixed)
    return mixed


@answers("getfilelabelsmsg", message(colonyname=text, name=text, exact=truth), "Failed to get files")
def _get_labels(world: World, caller: str, asked: Any) -> Any:
    colony = asked["colonyname"]
    world.require_member(caller, colony)
    storable(asked["name"])
    labels = _labels(world, colony, asked["name"], exact=asked["exact"])
    return [
        {"name": label, "files": sum(len(each) for each in world.labels[colony, label].values())}
        for label in labels
    ] or None


def _labels(world: World, colony: str, name: str, *, exact: bool) -> list[str]:
    """Labels that begin like this, as SQL says LIKE: an underscore is any letter, a percent sign any text.

    With ``exact``, those below this one, and it: but none where it holds no file itself.
    """
    there = [label for (of, label), files in world.labels.items() if of == colony and files]
    if not name:
        return _in_no_order(there)
    if exact and name not in there:
        return []
    pattern = _like(f"{name}/%" if exact else f"{name}%")
    found = {each for each in there if pattern.fullmatch(each)}
    return _in_no_order(found | ({name} if exact else set()))


def _like(pattern: str) -> re.Pattern[str]:
    parts = re.findall(r"\\.|[^\\]|\\$", pattern, re.DOTALL)
    wild = {"%": ".*", "_": "."}
    return re.compile("".join(wild.get(each) or re.escape(each[-1]) for each in parts), re.DOTALL)


@answers("removefilemsg", _ONE, "Failed to remove file")
def _remove_file(world: World, caller: str, asked: Any) -> Any:
    colony, label, name = asked["colonyname"], asked["label"], asked["name"]
    world.require_member(caller, colony)
    storable(label, name)
    if asked["fileid"]:
        file = world.files.get(asked["fileid"])
        found = [file] if file is not None and file["colonyname"] == colony else []
    elif label and name:
        found = list(world.labels[colony, label].get(name, []))
    else:
        raise Refusal(400, "malformatted remove file msg")
    for each in found:
        del world.files[each["fileid"]]
        of = world.labels[colony, each["label"]]
        of[each["name"]].remove(each)
        if not of[each["name"]]:
            del of[each["name"]]
    return {}


@answers("createsnapshotmsg", message(colonyname=text, label=text, name=text), "Failed to create snapshot")
def _create_snapshot(world: World, caller: str, asked: Any) -> Any:
    colony, name = asked["colonyname"], asked["name"]
    world.require_member(caller, colony)
    if _named(world, colony, name) is not None:
        if ":" in name:
            unique = 'duplicate key value violates unique constraint "prod_snapshots_name_key"'
            raise Refusal(500, f"pq: {unique}")
        raise Refusal(500, f"Snapshot with name <{name}> in Colony <{colony}> already exists")
    label = asked["label"].removesuffix("/")
    storable(name, label, status=500)
    ids = [
        revisions[-1]["fileid"]
        for each in _labels(world, colony, label, exact=True)
        for revisions in world.labels[colony, each].values()
    ]
    snapshot: Any = {
        "snapshotid": new_id(),
        "colonyname": colony,
        "label": label,
        "name": name,
        "fileids": _in_no_order(ids) or None,
        "added": now_ns(),
    }
    world.snapshots[snapshot["snapshotid"]] = snapshot
    return {**snapshot, "added": world.moment(snapshot["added"], exact=True)}


def _named(world: World, colony: str, name: str) -> Any:
    found = (
        each for each in world.snapshots.values() if (each["colonyname"], each["name"]) == (colony, name)
    )
    return next(found, None)


def _sought(world: World, asked: Any, malformatted: str) -> Any:
    colony, snapshot_id, name = asked["colonyname"], asked["snapshotid"], asked["name"]
    if snapshot_id:
        found = world.snapshots.get(snapshot_id)
        return found if found is not None and found["colonyname"] == colony else None
    if not name:
        raise Refusal(500, malformatted)
    return _named(world, colony, name)


@answers("getsnapshotmsg", _SNAPSHOT, "Failed to get snapshot")
def _get_snapshot(world: World, caller: str, asked: Any) -> Any:
    colony = asked["colonyname"]
    world.require_member(caller, colony)
    found = _sought(world, asked, "Failed to get snapshot, malformatted msg")
    if found is None:
        what = f"Id <{asked['snapshotid']}>" if asked["snapshotid"] else f"name <{asked['name']}>"
        raise Refusal(500, f"Snapshot not found with {what} in Colony <{colony}> does not exists")
    return _shown_snapshot(world, found)


def _shown_snapshot(world: World, snapshot: Any) -> Any:
    if ":" in snapshot["name"] or ":" in snapshot["colonyname"]:
        raise Refusal(500, "invalid split name")
    return {**snapshot, "added": world.moment(snapshot["added"])}


@answers("getsnapshotsmsg", message(colonyname=text), "Failed to get snapshots")
def _get_snapshots(world: World, caller: str, asked: Any) -> Any:
    world.require_member(caller, asked["colonyname"])
    found = [each for each in world.snapshots.values() if each["colonyname"] == asked["colonyname"]]
    return [_shown_snapshot(world, each) for each in reversed(found)] or None


@answers("removesnapshotmsg", _SNAPSHOT, "Failed to remove snapshot")
def _remove_snapshot(world: World, caller: str, asked: Any) -> Any:
    world.require_member(caller, asked["colonyname"])
    found = _sought(world, asked, "Failed to remove snapsnot, malformatted msg")
    if found is not None:
        del world.snapshots[found["snapshotid"]]
    return {}


@answers("removeallsnapshotmsg", message(colonyname=text), "Failed to remove snapshot")
def _remove_all_snapshots(world: World, caller: str, asked: Any) -> Any:
    colony = asked["colonyname"]
    world.require_member(caller, colony)
    for name, each in list(world.snapshots.items()):
        if each["colonyname"] == colony:
            del world.snapshots[name]
    return {}
