"""Amounts as Kubernetes writes them: ``100m``, ``1Gi``, ``2``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from support.kubernetes.kinds import list_of, part

_UNITS = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    **{unit: Fraction(1000 ** (power + 1)) for power, unit in enumerate(("k", "M", "G", "T", "P", "E"))},
    **{f"{unit}i": Fraction(1024 ** (power + 1)) for power, unit in enumerate("KMGTPE")},
}
_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:[eE]([+-]?\d+)|(" + "|".join(_UNITS) + "))")

Amounts = Mapping[str, Fraction]


def quantity(text: Any) -> Fraction:
    """The number that is meant.

    Raises:
        ValueError: it is none.
    """
    found = _QUANTITY.fullmatch(str(text))
    if found is None:
        raise ValueError(f"quantities must match the regular expression {_QUANTITY.pattern!r}: {text!r}")
    number, exponent, unit = found.groups()
    return Fraction(number) * (Fraction(10) ** int(exponent) if exponent else _UNITS[unit or ""])


def shown(value: Fraction) -> str:
    """Written with a unit that leaves no fraction."""
    if value.denominator != 1:
        return f"{value * 1000}m" if (value * 1000).denominator == 1 else str(float(value))
    for unit in ("Ei", "Pi", "Ti", "Gi", "Mi", "Ki"):
        if value and (value / _UNITS[unit]).denominator == 1:
            return f"{value / _UNITS[unit]}{unit}"
    return str(value)


def amounts(given: Mapping[str, Any] | None) -> dict[str, Fraction]:
    """The same for a list of resources."""
    return {name: quantity(value) for name, value in (given or {}).items()}


def added(many: Iterable[Amounts]) -> dict[str, Fraction]:
    """Their sum."""
    total: dict[str, Fraction] = {}
    for each in many:
        for name, value in each.items():
            total[name] = total.get(name, Fraction()) + value
    return total


def highest(one: Amounts, other: Amounts) -> dict[str, Fraction]:
    """The larger one of each."""
    return {name: max(one.get(name, Fraction()), other.get(name, Fraction())) for name in {*one, *other}}


def asked_of(pod: Mapping[str, Any], which: str = "requests") -> dict[str, Fraction]:
    """What a pod asks a node for: its containers together, or an init container where that is more."""
    spec = pod["spec"]
    total = added(_of(each, which) for each in spec["containers"])
    sidecars: dict[str, Fraction] = {}
    most: dict[str, Fraction] = {}
    for each in list_of(spec, "initContainers"):
        if each.get("restartPolicy") == "Always":
            sidecars = added([sidecars, _of(each, which)])
            most = highest(most, sidecars)
        else:
            most = highest(most, added([sidecars, _of(each, which)]))
    return highest(added([total, sidecars]), most)


def _of(container: Mapping[str, Any], which: str) -> dict[str, Fraction]:
    return amounts(part(container, "resources").get(which))
