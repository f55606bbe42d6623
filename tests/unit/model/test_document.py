"""What is said of a word that nobody knows."""

from __future__ import annotations

from pollinator.model.document import suggestion


def test_of_many_that_are_known_a_few_are_named() -> None:
    names = [f"site-{number:03}" for number in range(100)]
    said = suggestion("zzz", names)

    assert said.startswith("; known are site-000, site-001, ")
    assert said.endswith("site-011 and 88 more")
    assert "; did you mean 'site-042'?" == suggestion("sit-042", names)
