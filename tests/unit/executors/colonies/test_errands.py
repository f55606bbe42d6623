"""What is in hand, on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.executors.colonies.errands import Errand, Errands, Row, is_id


def test_an_errand_is_the_same_after_a_restart(tmp_path: Path) -> None:
    errand = Errand("ab12", {"funcname": "execute"}, "ada", 1)
    errand.offsets = {0: 7, 12: 9}
    errand.sending = Row(12, 9, 14, "dire é\ud800\n")
    errand.mark_ns, errand.rows = 5, 3

    Errands(tmp_path / "x").keep(errand)

    assert [errand] == Errands(tmp_path / "x").all()
    assert 0o600 == (tmp_path / "x" / "ab12.json").stat().st_mode & 0o777


def test_one_that_is_done_is_gone(tmp_path: Path) -> None:
    errands = Errands(tmp_path)
    errands.keep(Errand("ab", {}))

    errands.drop(Errand("ab", {}))
    errands.drop(Errand("ab", {}))

    assert [] == errands.all()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "offsets": 3}'])
def test_one_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path, text: str) -> None:
    errands = Errands(tmp_path)
    errands.keep(Errand("ab", {}))

    (tmp_path / "bad.json").write_text(text)

    assert [Errand("ab", {})] == errands.all()


def test_the_run_of_a_process_that_was_given_up_has_another_id_that_fits() -> None:
    assert "a" * 64 == Errand("a" * 64, {}).run_id
    assert "a" * 62 + "r1" == Errand("a" * 64, {}, generation=1).run_id
    assert "abr12" == Errand("ab", {}, generation=12).run_id


@pytest.mark.parametrize("text", ["", "../x", "a/b", "a.b", "a" * 65, "a\n"])
def test_what_no_file_should_be_named_is_no_id(text: str) -> None:
    assert not is_id(text)
