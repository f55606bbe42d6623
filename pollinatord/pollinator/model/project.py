"""From the text of project.yaml to a resolved spec; all that is wrong is said at once, with its place."""

from __future__ import annotations

from typing import Any

import yaml

from pollinator.model.document import Document, suggestion
from pollinator.model.keys import ALIASES, IGNORED, KEYS, LISTS, REQUIRED, VARIABLE, VARIABLES, item, passable
from pollinator.v1.run_pb2 import SpecOverrides
from pollinator.v1.spec_pb2 import EnvironmentVariable, RunSpec
from pollinator.wire.errors import InvalidInput, Violation

_PATHS = (*KEYS, *LISTS, VARIABLES, *ALIASES, *IGNORED)

COLONIES = "colonies"
"""The executor that hands runs over to colonies: names of executors in a project are those of a colony."""


def load_spec(text: str | bytes, filename: str, overrides: SpecOverrides | None = None) -> RunSpec:
    """The resolved spec of a project.

    Args:
        text: what project.yaml holds, decoded or as it is on disk.
        filename: its name in complaints.
        overrides: what differs for one run.

    Raises:
        InvalidInput: something cannot be meant; each violation says file:line:column.
    """
    document, spec = read_text(text, filename)
    if document.violations:
        raise _invalid(document.violations, filename)
    return apply_overrides(spec, overrides) if overrides is not None else spec


def read_text(text: str | bytes, filename: str) -> tuple[Document, RunSpec]:
    """What a project.yaml says and all that is wrong with it; the spec holds what is right.

    Args:
        text: what project.yaml holds, decoded or as it is on disk.
        filename: its name in complaints.
    """
    document = Document(filename)
    spec = RunSpec(nodes=1, processes_per_node=1)
    decoded = text if isinstance(text, str) else document.decode(text)
    top = document.compose(decoded) if decoded is not None else None
    if top is not None:
        _read(document, top, "", spec)
        _complete(document, top)
    elif decoded is not None and (above := document.compose_before(decoded)) is not None:
        _read(document, above, "", spec)
    _sort_environment(spec)
    return document, spec


def apply_overrides(spec: RunSpec, overrides: SpecOverrides) -> RunSpec:
    """The spec with what differs for one run.

    Raises:
        InvalidInput: an override cannot be meant.
    """
    changed = RunSpec()
    changed.CopyFrom(spec)
    violations: list[Violation] = []
    for setting in overrides.set:
        name, equals, value = setting.partition("=")
        try:
            _override(changed, name, value, bool(equals))
        except ValueError as error:
            violations.append(Violation(f"--set {name}", str(error)))
    for variable in overrides.environment:
        if problem := _variable_problem(variable):
            violations.append(Violation(f"--env {variable.name}", problem))
        kept = [each for each in changed.environment if each.name != variable.name]
        del changed.environment[:]
        changed.environment.extend([*kept, variable])
    if violations:
        raise _invalid(violations, "the command line")
    changed.arguments.extend(overrides.arguments)
    changed.require_container = changed.require_container or overrides.require_container
    if overrides.executor and overrides.executor != COLONIES:
        changed.executor_names[:] = [overrides.executor]
    _sort_environment(changed)
    return changed


def check_spec(spec: RunSpec) -> None:
    """Refuse a spec that no project.yaml leads to, for whoever was not given it by ``load_spec``.

    Raises:
        InvalidInput: something is missing or cannot be meant.
    """
    violations: list[Violation] = []
    for path, key in KEYS.items():
        holder, name = _field(spec, key.field, create=False)
        value = getattr(holder, name)
        try:
            if value or path in (*REQUIRED, "conditions.nodes", "conditions.processesPerNode"):
                key.parse(passable(key.show(value)))
        except ValueError as error:
            violations.append(Violation(path, str(error)))
    violations += [
        Violation(f"{VARIABLES}.{variable.name}", problem)
        for variable in spec.environment
        if (problem := _variable_problem(variable))
    ]
    for path in LISTS:
        try:
            for text in _list(spec, path):
                item(path, text)
        except ValueError as error:
            violations.append(Violation(path, str(error)))
    if violations:
        raise _invalid(violations, "the spec")


def spec_settings(spec: RunSpec) -> dict[str, str]:
    """Every setting that is not empty, by its key in project.yaml."""
    settings: dict[str, str] = {}
    for path, key in KEYS.items():
        holder, name = _field(spec, key.field, create=False)
        value = getattr(holder, name)
        if value:
            settings[path] = key.show(value)
    for path in LISTS:
        if values := _list(spec, path):
            settings[path] = " ".join(values)
    for variable in spec.environment:
        settings[f"{VARIABLES}.{variable.name}"] = variable.value
    return settings


def _read(document: Document, node: yaml.MappingNode, path: str, spec: RunSpec) -> None:
    known = {each[len(path) :].split(".")[0] for each in _PATHS if each.startswith(path)}
    seen: set[str] = set()
    for name, value in document.entries(node, path, known, _PATHS).items():
        full = ALIASES.get(path + name, path + name)
        if full in seen:
            text = f"{path + name!r} is {full!r} under another name, which is there as well"
            document.complain(value, text, code="repeated_key")
        seen.add(full)
        if full in IGNORED or _is_null(value):
            continue
        document.values[full] = value
        if full in KEYS:
            _read_value(document, value, full, spec)
        elif full in LISTS:
            _read_list(document, value, full, spec)
        elif full == VARIABLES:
            _read_variables(document, value, spec)
        elif isinstance(value, yaml.MappingNode):
            _read(document, value, full + ".", spec)
        else:
            document.complain(value, f"{full} holds further settings", "write them indented below it")


def _read_value(document: Document, value: yaml.Node, path: str, spec: RunSpec) -> None:
    if not isinstance(value, yaml.ScalarNode):
        document.complain(value, f"{path} takes one plain value")
        return
    try:
        _assign(spec, path, str(value.value))
    except ValueError as error:
        document.complain(value, f"{path}: {error}")


def _read_list(document: Document, value: yaml.Node, path: str, spec: RunSpec) -> None:
    items = value.value if isinstance(value, yaml.SequenceNode) else None
    if items is None or not all(isinstance(each, yaml.ScalarNode) for each in items):
        document.complain(value, f"{path} takes a list, for example [local]")
        return
    for node in items:
        try:
            _list(spec, path).append(item(path, _text(node)))
        except ValueError as error:
            document.complain(node, f"{path}: {error}")


def _read_variables(document: Document, value: yaml.Node, spec: RunSpec) -> None:
    if not isinstance(value, yaml.MappingNode):
        document.complain(value, f"{VARIABLES} takes lines like `NAME: value`")
        return
    for name, content in document.pairs(value):
        if not isinstance(name, yaml.ScalarNode) or not VARIABLE.fullmatch(str(name.value)):
            shown = repr(name.value) if isinstance(name, yaml.ScalarNode) else "this"
            document.complain(name, f"{shown} is not the name of a variable", code="bad_key")
        elif not isinstance(content, yaml.ScalarNode):
            document.complain(content, f"{name.value} takes one plain value")
        elif any(each.name == name.value for each in spec.environment):
            document.complain(name, f"{name.value!r} is there twice", code="repeated_key")
        else:
            try:
                variable = EnvironmentVariable(name=str(name.value), value=_text(content))
            except ValueError as error:
                document.complain(content, f"{name.value}: {error}")
            else:
                spec.environment.append(variable)


def _text(node: yaml.ScalarNode) -> str:
    """The text as it stands there, whatever YAML takes it for: yes, 1.10 and 01:30:00 stay what they are."""
    return "" if _is_null(node) else passable(str(node.value))


_WANTED = {
    "projectname": "it names the project's files in every store",
    "environment.cmd": "it says what to run, for example python3",
}


def _complete(document: Document, top: yaml.MappingNode) -> None:
    for path in REQUIRED:
        # Of a section that is none it was said already what is wrong.
        above = document.values.get(path.rpartition(".")[0])
        if path not in document.values and (above is None or isinstance(above, yaml.MappingNode)):
            document.complain(top, f"{path} is missing", _WANTED[path], "missing_key")


def _override(spec: RunSpec, name: str, value: str, has_value: bool) -> None:
    if not has_value:
        raise ValueError("write KEY=VALUE, for example conditions.mem=4Gi")
    if KEYS.get(name) is KEYS["projectname"]:
        raise ValueError("names the project's files and cannot differ for one run")
    if name in KEYS:
        _assign(spec, name, value)
    elif name in LISTS:
        parts = [part.strip() for part in item(name, value).split(",")]
        _list(spec, name)[:] = filter(None, parts)
    elif name.startswith(f"{VARIABLES}."):
        raise ValueError("use --env NAME=VALUE for variables")
    else:
        raise ValueError(f"is not a setting{suggestion(name, [*KEYS, *LISTS])}")


def _assign(spec: RunSpec, path: str, text: str) -> None:
    key = KEYS[path]
    holder, name = _field(spec, key.field, create=True)
    setattr(holder, name, key.parse(passable(text)))


def _list(spec: RunSpec, path: str) -> Any:
    holder, name = _field(spec, LISTS[path][0], create=False)
    return getattr(holder, name)


def _field(spec: RunSpec, field: str, *, create: bool) -> tuple[Any, str]:
    outer, dot, inner = field.partition(".")
    if not dot:
        return spec, outer
    holder = getattr(spec, outer)
    if create:
        holder.SetInParent()
    return holder, inner


def _variable_problem(variable: EnvironmentVariable) -> str:
    if not VARIABLE.fullmatch(variable.name):
        return "is not the name of a variable"
    return "holds NUL, which no program can be given" if "\0" in variable.value else ""


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _sort_environment(spec: RunSpec) -> None:
    ordered = sorted(spec.environment, key=lambda variable: variable.name)
    del spec.environment[:]
    spec.environment.extend(ordered)


def _invalid(violations: list[Violation], where: str) -> InvalidInput:
    count = "one thing is" if len(violations) == 1 else f"{len(violations)} things are"
    return InvalidInput(f"{count} not right in {where}", reason="bad_spec", violations=violations)
