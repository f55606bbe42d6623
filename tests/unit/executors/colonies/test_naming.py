"""Names of files in a colony, and paths here."""

from __future__ import annotations

import pytest

from pollinator.executors.colonies.naming import Spot, check_label, path_of, spot_of
from pollinator.wire.errors import InvalidInput

ROOT = "/pollinator/p/src"


@pytest.mark.parametrize(
    ("path", "spot"),
    [
        ("main.py", Spot(ROOT, "main.py")),
        ("a/b/c.py", Spot(f"{ROOT}/a/b", "c.py")),
        ("a b/å\n.txt", Spot(f"{ROOT}/a b", "å\n.txt")),
        ("...", Spot(ROOT, "...")),
        ("a\\b", Spot(ROOT, "a\\b")),
    ],
)
def test_a_path_and_its_place_in_a_colony_belong_together(path: str, spot: Spot) -> None:
    assert spot == spot_of(ROOT, path)
    assert path == path_of(ROOT, spot)


@pytest.mark.parametrize(
    "path", ["", "/x", "../x", "a/../x", "a//b", "a/", "./x", ".", "..", "a/\0", "\udc80"]
)
def test_what_could_lead_out_of_a_folder_is_no_path(path: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be the path"):
        spot_of(ROOT, path)


@pytest.mark.parametrize(
    "spot",
    [
        Spot(ROOT, "../x"),
        Spot(ROOT, "/x"),
        Spot(ROOT, "a/b"),
        Spot(ROOT, ""),
        Spot(ROOT, ".."),
        Spot(ROOT, "a\0"),
        Spot(ROOT, "\ud800"),
        Spot(f"{ROOT}/..", "x"),
        Spot(f"{ROOT}/a/../..", "x"),
        Spot(f"{ROOT}//a", "x"),
        Spot(f"{ROOT}/", "x"),
        Spot(f"{ROOT}b", "x"),
        Spot("/elsewhere", "x"),
        Spot("", "x"),
    ],
)
def test_a_place_that_another_member_made_up_is_no_path(spot: Spot) -> None:
    assert path_of(ROOT, spot) is None


@pytest.mark.parametrize("label", ["", "/", "a", "/a/", "/a/../b", "//a", "/a\0"])
def test_what_is_no_label_is_refused(label: str) -> None:
    with pytest.raises(InvalidInput, match="is no label"):
        check_label(label)


def test_a_label_is_returned() -> None:
    assert check_label(ROOT) == ROOT
