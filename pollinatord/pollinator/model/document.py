"""A YAML document that remembers where everything stands, so that complaints can say file:line:column."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import yaml

from pollinator.wire.errors import Violation


class Document:
    """Gathers what is wrong with one file."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.violations: list[Violation] = []

    def where(self, mark: yaml.Mark | None) -> str:
        """A place in the file."""
        return f"{self.filename}:{mark.line + 1}:{mark.column + 1}" if mark else f"{self.filename}:1:1"

    def complain(self, node: yaml.Node, message: str) -> None:
        """Something is wrong at ``node``."""
        self.violations.append(Violation(self.where(node.start_mark), message))

    def compose(self, text: str) -> yaml.MappingNode | None:
        """The top of the document; None, with a complaint, when it is no mapping."""
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            message = " ".join(part for part in (error.problem, error.context) if part)
            self.violations.append(Violation(self.where(error.problem_mark), message or "this is not YAML"))
            return None
        except yaml.YAMLError as error:
            self.violations.append(Violation(f"{self.filename}:1:1", str(error).splitlines()[0]))
            return None
        if isinstance(node, yaml.MappingNode):
            return node
        self.violations.append(Violation(f"{self.filename}:1:1", "write settings as `key: value` lines"))
        return None

    def entries(
        self, node: yaml.MappingNode, path: str, known: Iterable[str]
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key and value nodes by name; complains about unknown and repeated keys. ``x-`` keys are skipped."""
        names = list(known)
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, yaml.ScalarNode) else ""
            if name.startswith("x-"):
                continue
            if name not in names:
                self.complain(key, f"unknown key {path + name!r}{suggestion(name, names)}")
            elif name in found:
                self.complain(key, f"{path + name!r} is there twice")
            else:
                found[name] = (key, value)
        return found


def suggestion(word: str, known: Iterable[str]) -> str:
    """What was probably meant, or what is known."""
    names = sorted(known)
    lowered = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word.lower(), lowered, 1, 0.6)
    if near:
        return f"; did you mean {lowered[near[0]]!r}?"
    return f"; known are {', '.join(names)}"
