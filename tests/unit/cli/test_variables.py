"""Variables and secrets as typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.cli.variables import open_to_others, parse_environment, parse_secrets, read_secrets
from pollinator.wire.errors import InvalidInput


def test_a_variable_has_a_value_or_takes_the_callers() -> None:
    found = parse_environment(["A=1", "B=x=y", "C=", "D"], {"D": "mine"})

    assert found == {"A": "1", "B": "x=y", "C": "", "D": "mine"}


@pytest.mark.parametrize("typed", ["=1", "1A=2", "A-B=2", "MISSING", ""])
def test_anything_else_is_refused(typed: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_environment([typed], {})

    assert caught.value.reason == "bad_variable"


def test_secrets_are_read_as_lines() -> None:
    text = "# comment\n\nexport A=1\nB='two words'\n  C=\"x=y\"\nD=it's\n"

    assert parse_secrets(text, "f") == {"A": "1", "B": "two words", "C": "x=y", "D": "it's"}


def test_a_wrong_line_is_named_by_its_place_and_never_repeated() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_secrets("A=1\nhunter2\n", "tokens")

    (violation,) = caught.value.violations
    assert violation.where == "tokens:2:1"
    assert "hunter2" not in f"{caught.value.message} {violation.message} {caught.value.hint}"


def test_a_missing_file_is_an_error_of_the_command_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_secrets(str(tmp_path / "none"))

    assert caught.value.violations[0].where == "--secret-file"


def test_a_file_that_others_can_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.touch()

    path.chmod(0o600)
    assert not open_to_others(str(path))
    path.chmod(0o640)
    assert open_to_others(str(path))
