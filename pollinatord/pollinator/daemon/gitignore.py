r"""The language of ignore files: exactly git's, byte for byte.

Patterns become regular expressions over bytes, because names in synced trees are bytes. A general matching
library is not used: those match a path together with everything below it (so that ``build/**`` also hits
``build`` itself and nothing in it can be taken back), want text, and cost more per path than its stat. The
tests compare this module with ``git check-ignore``. Which file applies where is left to ``ignore``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_NOTHING = b"(?!)"
_SPECIAL = frozenset(b"*?[\\")
_BYTES = range(256)
_CLASSES: dict[bytes, frozenset[int]] = {
    b"alnum": frozenset(b for b in range(128) if chr(b).isalnum()),
    b"alpha": frozenset(b for b in range(128) if chr(b).isalpha()),
    b"blank": frozenset(b" \t"),
    b"cntrl": frozenset((*range(32), 127)),
    b"digit": frozenset(b"0123456789"),
    b"graph": frozenset(range(33, 127)),
    b"lower": frozenset(range(ord("a"), ord("z") + 1)),
    b"print": frozenset(range(32, 127)),
    b"punct": frozenset(b for b in range(33, 127) if not chr(b).isalnum()),
    b"space": frozenset(b" \t\n\r"),
    b"upper": frozenset(range(ord("A"), ord("Z") + 1)),
    b"xdigit": frozenset(b"0123456789abcdefABCDEF"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of an ignore file."""

    source: str
    """The file, for people."""
    line: int
    text: bytes
    """As it was written."""
    pattern: bytes
    """Without the marks for negation and directories."""
    negated: bool
    directories_only: bool
    has_slash: bool
    """Matches the path from the file's directory on; otherwise the last part of any path below it."""

    def __str__(self) -> str:
        """As ``git check-ignore --verbose`` names it."""
        return f"{self.source}:{self.line}:{self.text.decode(errors='backslashreplace')}"


class RuleSet:
    """All rules of one file. The last one that matches decides."""

    __slots__ = ("_last_first", "_paths", "names")

    def __init__(self, rules: Iterable[Rule]) -> None:
        rules = tuple(rules)
        self._last_first = tuple((rule, re.compile(to_regex(rule), re.DOTALL)) for rule in reversed(rules))
        self._paths = tuple(rule for rule in rules if rule.has_slash)
        self.names = frozenset(rule.pattern for rule in rules if not rule.has_slash)
        """Patterns for names, wherever they are."""

    def reaching(self, prefix: bytes) -> tuple[Rule, ...]:
        """Rules for paths that may match something directly in a directory."""
        return tuple(rule for rule in self._paths if _reaches(rule.pattern.removeprefix(b"/"), prefix))

    def decide(self, prefix: bytes, name: bytes, is_dir: bool) -> Rule | None:
        """The rule for ``prefix + name``, relative to the file's directory; ``None`` when there is none."""
        for rule, regex in self._last_first:
            if rule.directories_only and not is_dir:
                continue
            if regex.fullmatch(prefix + name if rule.has_slash else name) is not None:
                return rule
        return None


class Suspects:
    """Names that rules may be about: of all others none of them decides.

    Nearly every path matches nothing. To find that out fast, the usual forms of patterns (a name, an ending,
    a beginning) are kept apart from those that need a regular expression.
    """

    __slots__ = ("_anything", "_endings", "_involved", "_names", "_starts")

    def __init__(self, patterns: Iterable[bytes], reaching: Iterable[Rule]) -> None:
        parts = [_last_part(rule.pattern.removeprefix(b"/")) for rule in reaching]
        wanted = {*patterns, *filter(None, parts)}
        self._anything = None in parts
        self._names = frozenset(filter(_is_literal, wanted))
        self._endings = tuple(pattern[1:] for pattern in wanted if _is_ending(pattern))
        self._starts = tuple(pattern[:-1] for pattern in wanted if _is_beginning(pattern))
        involved = [b"(?:%s)" % _translate(each, across=True) for each in wanted if _is_involved(each)]
        self._involved = re.compile(b"|".join(involved), re.DOTALL) if involved else None

    def __contains__(self, name: bytes) -> bool:
        """The rules have to be asked."""
        return (
            name in self._names
            or name.endswith(self._endings)
            or name.startswith(self._starts)
            or self._anything
            or (self._involved is not None and self._involved.fullmatch(name) is not None)
        )


def parse(source: str, text: bytes) -> RuleSet:
    """The rules in the text of an ignore file."""
    lines = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    parsed = (_parse_line(source, number, line) for number, line in enumerate(lines, 1))
    return RuleSet(rule for rule in parsed if rule is not None)


def to_regex(rule: Rule) -> bytes:
    """A regular expression that matches the whole of what the rule matches."""
    pattern = rule.pattern
    if not rule.has_slash:
        return _translate(pattern, across=True)
    pattern = pattern.removeprefix(b"/")
    # Git compares up to the first special character literally and only then starts to match, so that "**"
    # right there counts as if it stood at the beginning of the pattern.
    literal = next((at for at, byte in enumerate(pattern) if byte in _SPECIAL), len(pattern))
    return re.escape(pattern[:literal]) + _translate(pattern[literal:], across=False)


def _parse_line(source: str, number: int, line: bytes) -> Rule | None:
    if line.startswith(b"#"):
        return None
    pattern = _strip_spaces(line.removesuffix(b"\r"))
    text = pattern
    negated = pattern.startswith(b"!")
    pattern = pattern.removeprefix(b"!")
    directories_only = pattern.endswith(b"/")
    pattern = pattern.removesuffix(b"/")
    if not pattern:
        return None
    return Rule(source, number, text, pattern, negated, directories_only, b"/" in pattern)


def _strip_spaces(line: bytes) -> bytes:
    """Without trailing spaces, except one that a backslash protects."""
    stripped = line.rstrip(b" ")
    backslashes = len(stripped) - len(stripped.rstrip(b"\\"))
    if backslashes % 2 == 1 and len(stripped) < len(line):
        return stripped + b" "
    return stripped


def _is_literal(pattern: bytes) -> bool:
    return not _SPECIAL.intersection(pattern)


def _is_ending(pattern: bytes) -> bool:
    return pattern.startswith(b"*") and _is_literal(pattern[1:])


def _is_beginning(pattern: bytes) -> bool:
    return pattern.endswith(b"*") and _is_literal(pattern[:-1])


def _is_involved(pattern: bytes) -> bool:
    return not (_is_literal(pattern) or _is_ending(pattern) or _is_beginning(pattern))


def _reaches(pattern: bytes, prefix: bytes) -> bool:
    """Whether a pattern for paths may match anything directly in a directory."""
    literal = next((at for at, byte in enumerate(pattern) if byte in _SPECIAL), len(pattern))
    above = pattern[: pattern.rfind(b"/", 0, literal) + 1]
    if not prefix.startswith(above):
        return False
    return not _is_plain(pattern) or pattern.count(b"/") == prefix.count(b"/")


def _last_part(pattern: bytes) -> bytes | None:
    """What a name must match when a pattern for paths does; None when that cannot be told apart."""
    above, _, name = pattern.rpartition(b"/")
    return name if _is_plain(name) and (above == b"**" or _is_plain(above)) else None


def _is_plain(pattern: bytes) -> bool:
    """No wildcard in it matches a slash, and every slash in it is one."""
    return b"**" not in pattern and b"[" not in pattern and b"\\" not in pattern


def _translate(pattern: bytes, *, across: bool) -> bytes:
    """The regular expression of a pattern in which wildcards match slashes (``across``) or not."""
    any_byte = b"." if across else b"[^/]"
    parts: list[bytes] = []
    at = 0
    while at < len(pattern):
        match pattern[at : at + 1]:
            case b"\\":
                if at + 1 == len(pattern):
                    return _NOTHING
                parts.append(re.escape(pattern[at + 1 : at + 2]))
                at += 2
            case b"?":
                parts.append(any_byte)
                at += 1
            case b"*":
                part, at = _stars(pattern, at, across=across)
                parts.append(part)
            case b"[":
                bracket = _bracket(pattern, at)
                if bracket is None:
                    return _NOTHING
                parts.append(_byte_class(bracket[0] if across else bracket[0] - frozenset(b"/")))
                at = bracket[1]
            case literal:
                parts.append(re.escape(literal))
                at += 1
    return b"".join(parts)


def _stars(pattern: bytes, at: int, *, across: bool) -> tuple[bytes, int]:
    """What a run of asterisks matches, and where it ends."""
    end = at
    while pattern[end : end + 1] == b"*":
        end += 1
    if across:
        return b".*", end
    starts_part = at == 0 or pattern[at - 1 : at] == b"/"
    rest = pattern[end:]
    if end - at == 1 or not starts_part:
        return b"[^/]*", end
    if rest.startswith(b"/"):
        return b"(?:.*/)?", end + 1
    return (b".*" if not rest or rest.startswith(b"\\/") else b"[^/]*"), end


def _bracket(pattern: bytes, at: int) -> tuple[frozenset[int], int] | None:
    """The bytes that a bracket expression matches and where it ends; ``None`` when it is malformed."""
    at += 1
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    previous: int | None = None
    first = True
    while first or pattern[at : at + 1] != b"]":
        first = False
        item = _member(pattern, at, previous)
        if item is None:
            return None
        found, previous, at = item
        members |= found
    return (frozenset(_BYTES) - members if negated else frozenset(members)), at + 1


def _member(pattern: bytes, at: int, previous: int | None) -> tuple[frozenset[int], int | None, int] | None:
    """One member of a bracket expression: its bytes, the start of a range it may be, where it ends."""
    here = pattern[at : at + 1]
    following = pattern[at + 1 : at + 2]
    if here == b"-" and previous is not None and following not in (b"", b"]"):
        last = _escaped(pattern, at + 1)
        return None if last is None else (frozenset(range(previous, last[0] + 1)), None, last[1])
    if here == b"[" and following == b":":
        close = pattern.find(b"]", at + 2)
        if close < 0:
            return None
        if pattern[close - 1 : close] == b":" and close - 1 >= at + 2:
            named = _CLASSES.get(pattern[at + 2 : close - 1])
            return None if named is None else (named, None, close + 1)
    single = _escaped(pattern, at)
    return None if single is None else (frozenset((single[0],)), single[0], single[1])


def _escaped(pattern: bytes, at: int) -> tuple[int, int] | None:
    """The byte at a place, where a backslash stands for the byte behind it, and where it ends."""
    if pattern[at : at + 1] == b"\\":
        at += 1
    return (pattern[at], at + 1) if at < len(pattern) else None


def _byte_class(members: frozenset[int]) -> bytes:
    return b"[%s]" % b"".join(b"\\x%02x" % member for member in sorted(members)) if members else _NOTHING
