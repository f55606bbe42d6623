"""Names of objects and projects in a store."""

from __future__ import annotations

import pytest

from pollinator.chunks.digest import EMPTY
from pollinator.chunks.keys import (
    INDEX,
    PACK,
    SNAPSHOT,
    check_key,
    lease_of_part,
    namespace,
    pack_key,
    page_key,
    page_prefix,
    run_of,
)
from pollinator.wire.errors import InvalidInput


@pytest.mark.parametrize("kind", [PACK, SNAPSHOT, INDEX])
def test_a_key_is_made_of_kind_and_name(kind: str) -> None:
    key = pack_key(kind, EMPTY)

    assert f"{kind}/af/{EMPTY.hex()}" == key
    assert check_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "",
        "p",
        "../../etc/passwd",
        f"p/../{EMPTY.hex()}",
        f"x/af/{EMPTY.hex()}",
        f"p/00/{EMPTY.hex()}",
        f"p/AF/{EMPTY.hex().upper()}",
        f"p/af/{EMPTY.hex()}\n",
        f"/p/af/{EMPTY.hex()}",
        "t/run1/pod/1",
        "t/run1/../0000000001",
        "t/run1/pod/0000000001/x",
        "t/run1/0000000001",
    ],
)
def test_nothing_else_is_a_key(key: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_key(key)

    assert caught.value.reason == "bad_key"


@pytest.mark.parametrize("project", ["demo", "A-b_c.9", "_x", "9"])
def test_a_project_has_a_place_of_its_own(project: str) -> None:
    assert namespace(project) == f"pollinator/{project}"


@pytest.mark.parametrize("project", ["", ".", "..", "../other", "a/b", ".hidden", "a b", "x" * 129, "a\n"])
def test_a_project_cannot_be_named_so_that_it_reaches_another(project: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        namespace(project)

    assert caught.value.reason == "bad_project"


def test_pages_of_a_run_are_numbered_by_who_writes_them() -> None:
    key = page_key("run1", "0a-b", 12)

    assert "t/run1/0a-b/0000000012" == key
    assert key.startswith(page_prefix("run1", "0a-b"))
    assert key.startswith(page_prefix("run1"))
    assert not page_key("run12", "0a-b", 1).startswith(page_prefix("run1"))


def test_what_a_run_and_its_parts_keep_is_known_as_its() -> None:
    run = "01jd2v7x5n8k9m0p1q2r3s4t5n"

    assert run == run_of(f"l/{run}")
    assert run == run_of(f"l/{lease_of_part(run, 12)}")
    assert run == run_of(page_key(run, "0a-b", 1))
    assert check_key(f"l/{lease_of_part(run, 12)}")
