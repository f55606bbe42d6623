"""Names of objects and projects in a store."""

from __future__ import annotations

import pytest

from pollinator.chunks.digest import EMPTY
from pollinator.chunks.keys import INDEX, PACK, SNAPSHOT, check_key, namespace, pack_key
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
