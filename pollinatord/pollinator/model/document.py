"""A YAML document that remembers where everything stands, so that complaints can say file:line:column."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

import yaml

from pollinator.wire.errors import Violation

_LONGEST = 300
SHOWN = 12
"""So many of what is known are named."""
_Place = tuple[int, int]
_INSIDE = " \t\r\n#]})"
"""How lines begin that go on with a setting."""

_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. Lines and columns, in characters, begin with 1."""

    line: int
    column: int
    end_column: int
    """Behind the last character that is meant, or 0 when that is not known."""
    code: str
    """Stable word, for example ``unknown_key``."""
    message: str
    hint: str
    """What to write instead, or empty."""

    @property
    def text(self) -> str:
        """All of it in one sentence."""
        return f"{self.message}; {self.hint}" if self.hint else self.message


class Document:
    """Gathers what is wrong with one file."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self._found: list[Finding] = []
        self.values: dict[str, yaml.Node] = {}
        """What was read, by the names of settings."""

    @property
    def findings(self) -> list[Finding]:
        """All that is wrong, from top to bottom."""
        return sorted(self._found, key=lambda found: (found.line, found.column))

    @property
    def violations(self) -> list[Violation]:
        """The same, as errors carry it."""
        return [
            Violation(f"{self.filename}:{found.line}:{found.column}", found.text) for found in self.findings
        ]

    def complain(self, node: yaml.Node, message: str, hint: str = "", code: str = "bad_value") -> None:
        """Something is wrong at ``node``."""
        self._add(_at(node.start_mark), message, hint, code, _end_column(node))

    def decode(self, data: bytes) -> str | None:
        """The text of the file; None, with a complaint, when it is none."""
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            place = _end_of(data[: error.start].decode("utf-8"))
            self._add(place, f"byte {data[error.start]:#04x} is not UTF-8", "save the file as UTF-8")
            return None

    def compose(self, text: str) -> yaml.MappingNode | None:
        """The top of the document; None, with a complaint, when it is no mapping."""
        try:
            loader = yaml.SafeLoader(text)
        except yaml.reader.ReaderError as error:
            character = f"character U+{ord(text[error.position]):04X}"
            self._add(_end_of(text[: error.position]), f"{character} is not allowed in YAML")
            return None
        try:
            node = loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            self._add(_at(error.problem_mark), _sentence(error))
            return None
        except RecursionError:
            self._add(_at(loader.get_mark()), "this is nested too deeply")
            return None
        except (ValueError, OverflowError):
            self._add(_at(loader.get_mark()), "this escape stands for no character")
            return None
        if isinstance(node, yaml.MappingNode):
            return node
        self._add((1, 1), "write settings as `key: value` lines")
        return None

    def compose_before(self, text: str) -> yaml.MappingNode | None:
        """The settings that are complete before the place where ``text`` is broken, if they can be read.

        Without a further complaint: whoever types a line wants to go on hearing of the others.
        """
        lines = text.splitlines(keepends=True)
        broken = min((found.line for found in self._found), default=1)
        begins = [number for number, line in enumerate(lines[:broken]) if line[0] not in _INSIDE]
        # The last one may go on behind the place.
        return Document(self.filename).compose("".join(lines[: begins[-1]])) if begins else None

    def pairs(
        self, node: yaml.MappingNode, within: tuple[yaml.Node, ...] = ()
    ) -> list[tuple[yaml.Node, yaml.Node]]:
        """Keys and values of a mapping, with those that ``<<`` merges in where it has none itself."""
        own: list[tuple[yaml.Node, yaml.Node]] = []
        merged: list[tuple[yaml.Node, yaml.Node]] = []
        for key, value in node.value:
            if not (isinstance(key, yaml.ScalarNode) and key.tag == _MERGE):
                own.append((key, value))
                continue
            for source in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(source, yaml.MappingNode) or source in (*within, node):
                    self.complain(key, "`<<` takes another mapping, for example *name")
                else:
                    merged += self.pairs(source, (*within, node))
        known = {key.value for key, _ in own if isinstance(key, yaml.ScalarNode)}
        for key, value in merged:
            if isinstance(key, yaml.ScalarNode) and key.value not in known:
                known.add(key.value)
                own.append((key, value))
        return own

    def entries(
        self, node: yaml.MappingNode, path: str, known: Iterable[str], elsewhere: Iterable[str]
    ) -> dict[str, yaml.Node]:
        """Values by name; complains about unknown and repeated keys. ``x-`` keys are skipped.

        Args:
            node: the mapping.
            path: where it is, with a dot at its end.
            known: the names it may have.
            elsewhere: full names of all keys there are: one may stand in a wrong place.
        """
        names = list(known)
        found: dict[str, yaml.Node] = {}
        for key, value in self.pairs(node):
            if not isinstance(key, yaml.ScalarNode):
                self.complain(key, "a key is plain text", code="bad_key")
                continue
            name = str(key.value)
            if name.startswith("x-"):
                continue
            if name in found:
                self.complain(key, f"{path + name!r} is there twice", code="repeated_key")
            elif name in names:
                found[name] = value
            else:
                homes = [each for each in elsewhere if each.endswith(f".{name}")]
                meant = f"did you mean {homes[0]!r}?" if len(homes) == 1 else suggestion(name, names)
                self.complain(key, f"unknown key {path + name!r}", meant.removeprefix("; "), "unknown_key")
        return found

    def _add(
        self, place: _Place, message: str, hint: str = "", code: str = "bad_yaml", end_column: int = 0
    ) -> None:
        self._found.append(Finding(*place, end_column, code, _short(message), hint))


def _short(text: str) -> str:
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]}...{text[-half:]}"


def _at(mark: yaml.Mark | None) -> _Place:
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


def _end_column(node: yaml.Node) -> int:
    start, end = node.start_mark, node.end_mark
    return end.column + 1 if end and start and end.line == start.line and end.column > start.column else 0


def _end_of(text: str) -> _Place:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _sentence(error: yaml.MarkedYAMLError) -> str:
    parts = [error.problem or "this is not YAML", error.context or ""]
    if parts[0].startswith("but "):
        parts.reverse()
    hint = "; indent with spaces, not tabs" if "'\\t'" in parts[0] else ""
    return " ".join(filter(None, parts)) + hint


def suggestion(word: str, known: Iterable[str]) -> str:
    """What was probably meant, or what is known."""
    names = sorted(known)
    lowered = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word.lower(), lowered, 1, 0.6)
    if near:
        return f"; did you mean {lowered[near[0]]!r}?"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"; known are {', '.join(names[:SHOWN])}{more}"
