"""What a process of a colony is to do: from the function specs of the original and from ours to a run's spec.

Nothing here reads or writes anything.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from google.protobuf.json_format import ParseDict, ParseError

from pollinator.executors.colonies.funcspec import FUNCTION, MOUNT, OURS, ROOT, VERSION, WORD, Mount, Stored
from pollinator.executors.colonies.messages import Json, items, objects, one
from pollinator.executors.environment import CONTRACT
from pollinator.model.keys import NAME, VARIABLE
from pollinator.model.project import COLONIES
from pollinator.model.quantity import parse_bytes, parse_cpu
from pollinator.v1.spec_pb2 import EnvironmentVariable, RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import InvalidInput, Violation


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a process is to do."""

    spec: RunSpec
    run_id: str
    """Of the run that became this process; empty where another program submitted it."""
    trees: Mapping[str, Mount]
    """Those of ``src``, ``data`` and ``result`` that are in the colony's files."""
    stored: Stored | None


def wanted(spec: Json, process_id: str) -> Wanted:
    """What a process is to do, whoever submitted it.

    Args:
        spec: its function spec.
        process_id: its id, for what is to be put in its place.

    Raises:
        InvalidInput: it cannot be meant, or is not for us.
    """
    wrong: list[Violation] = []
    if spec.get("funcname") != FUNCTION:
        wrong.append(Violation("funcname", f"only {FUNCTION} is known here, not {spec.get('funcname')!r}"))
    ours = one(one(spec.get("kwargs")).get(OURS))
    trees = _trees(one(spec.get("fs")), process_id, wrong)
    if ours.get("version") == VERSION:
        found = _wanted_of_ours(ours, trees, wrong)
    else:
        found = _wanted_of_others(spec, process_id, trees, wrong)
    if wrong:
        raise InvalidInput(
            "the process cannot be run: " + "; ".join(f"{each.where} {each.message}" for each in wrong),
            reason="bad_function_spec",
            violations=wrong,
        )
    return found


def _told(text: str, process_id: str) -> str:
    """With the id of the process in its place, as public executors do it: once."""
    return text.replace("{processid}", process_id, 1)


def _trees(files: Json, process_id: str, wrong: list[Violation]) -> dict[str, Mount]:
    """Which is which is what the last part of its folder says."""
    trees: dict[str, Mount] = {}
    for kind, mounts in (
        ("snapshots", objects(files.get("snapshots"))),
        ("dirs", objects(files.get("dirs"))),
    ):
        for mount in mounts:
            folder, label = _text(mount, "dir"), _told(_text(mount, "label"), process_id)
            tree = folder.rpartition("/")[2]
            if tree not in ("src", "data", "result") or not label.startswith("/"):
                wrong.append(Violation(f"fs.{kind}", f"{folder!r} is none of src, data and result"))
            else:
                trees[tree] = Mount(label, _text(mount, "snapshotid"))
    return trees


def _wanted_of_ours(ours: Json, trees: dict[str, Mount], wrong: list[Violation]) -> Wanted:
    spec, stored = RunSpec(), None
    try:
        ParseDict(dict(one(ours.get("spec"))), spec, ignore_unknown_fields=True)
        if place := one(ours.get("snapshot")):
            ref = SnapshotRef(key=place["key"], digest=bytes.fromhex(place["digest"]))
            stored = Stored(ref, _text(place, "endpoint"), _text(place, "bucket"), _text(place, "prefix"))
    except (ParseError, ValueError, TypeError, KeyError) as error:
        wrong.append(Violation(f"kwargs.{OURS}", f"cannot be read: {error}"))
    if "data" in trees and (snapshot := _text(ours, "data")):
        trees["data"] = Mount(trees["data"].label, snapshot)
    return Wanted(spec, _text(ours, "run"), trees, stored)


def _wanted_of_others(spec: Json, process_id: str, trees: dict[str, Mount], wrong: list[Violation]) -> Wanted:
    conditions, arguments = one(spec.get("conditions")), one(spec.get("kwargs"))
    gpu = one(conditions.get("gpu"))
    found = RunSpec(
        project=_project(trees),
        nodes=_count(conditions, "nodes", wrong),
        processes_per_node=_count(conditions, "processespernode", wrong),
        cpu_millis=_amount(conditions, "cpu", parse_cpu, wrong),
        memory_bytes=_amount(conditions, "mem", parse_bytes, wrong),
        walltime_ms=max(0, _number(conditions, "walltime")) * 1000,
        image=_text(arguments, "docker-image"),
        location=_text(conditions, "locationname"),
        rebuild_image=arguments.get("rebuild-image") is True,
    )
    if count := _number(gpu, "count"):
        found.gpu.count, found.gpu.name = max(0, count), _text(gpu, "name")
    given: dict[str, str] = {str(name): str(value) for name, value in sorted(one(spec.get("env")).items())}
    for name, value in given.items():
        if not VARIABLE.fullmatch(name) or "\0" in value:
            wrong.append(Violation(f"env.{name}", "is no variable that a program can be given"))
        elif name not in CONTRACT:
            found.environment.append(EnvironmentVariable(name=name, value=value))
    if not _text(arguments, "cmd").strip():
        wrong.append(Violation("kwargs.cmd", "is missing"))
        return Wanted(found, "", trees, None)
    _set_command(found, arguments, process_id, _places(one(spec.get("fs")), given, process_id))
    return Wanted(found, "", trees, None)


def _set_command(found: RunSpec, arguments: Json, process_id: str, places: Mapping[str, str]) -> None:
    """A line for a shell, as it was meant; where a shell has nothing to do, what it would come to."""
    init, command = _text(arguments, "init-cmd"), _told(_text(arguments, "cmd"), process_id)
    given: list[str] = [_told(str(each), process_id) for each in items(arguments.get("args"))]
    source, rest = "", given
    for place, tree in places.items():
        if tree == "src" and given and given[0].startswith(f"{place}/"):
            source, rest = given[0].removeprefix(f"{place}/"), given[1:]
    words = [*command.split(), *rest, *([source] if source else [])]
    elsewhere = any(place in word for place in places for word in words) or ".." in source.split("/")
    if not init and not elsewhere and "=" not in command and all(WORD.fullmatch(word) for word in words):
        found.command, found.source = command, source
        found.arguments.extend(rest)
        return
    line = " ".join([f"{init};{command}" if init else command, *given])
    for place, tree in sorted(places.items(), reverse=True):
        here = f"${{PROJECT_DIR}}/{tree}".rstrip("/")
        line = re.sub(rf"{re.escape(place)}(?![\w.-])", here, line)
    found.command = shlex.join(["sh", "-c", line])


def _places(files: Json, variables: Mapping[str, str], process_id: str) -> dict[str, str]:
    """Folders as the command may name them, and what they are here, below the working folder."""
    mount = _text(files, "mount") or MOUNT
    places: dict[str, str] = {}
    if work := variables.get("PROJECT_DIR", ""):
        places[work] = ""
    for each in (*objects(files.get("snapshots")), *objects(files.get("dirs"))):
        folder = _told(_text(each, "dir"), process_id)
        places[f"{mount}{folder}"] = folder.rpartition("/")[2]
    return places


def _project(trees: Mapping[str, Mount]) -> str:
    """Namespace of the project, as its labels say."""
    for mount in trees.values():
        found = re.fullmatch(rf"{ROOT}/([^/]+)/.*", mount.label)
        if found and NAME.fullmatch(found[1]):
            return found[1]
    return COLONIES


def _count(conditions: Json, name: str, wrong: list[Violation]) -> int:
    count = _number(conditions, name)
    if count < 1:
        wrong.append(Violation(f"conditions.{name}", f"has to be at least 1, not {count}"))
        return 1
    return count


def _amount(conditions: Json, name: str, parse: Callable[[str], int], wrong: list[Violation]) -> int:
    text = _text(conditions, name)
    try:
        return int(parse(text)) if text else 0
    except ValueError as error:
        wrong.append(Violation(f"conditions.{name}", str(error)))
        return 0


def _text(message: Json, name: str) -> str:
    value = message.get(name)
    return value if isinstance(value, str) else ""


def _number(message: Json, name: str) -> int:
    value = message.get(name)
    return int(value) if isinstance(value, int | float) else 0
