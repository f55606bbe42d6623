"""Which files and directories are named when there is much."""

from __future__ import annotations

import pytest

from pollinator.daemon.sync.biggest import find_biggest, is_much


def named(sizes: dict[str, int], limit: int = 10) -> list[tuple[str, int, int]]:
    found = find_biggest([(path.encode(), size) for path, size in sizes.items()], limit)
    return [(each.path.decode() + "/" * each.directory, each.files, each.bytes) for each in found]


def test_the_largest_comes_first() -> None:
    sizes = {"src/main.py": 10, "data/a": 300, "data/b": 200}

    assert [("data/a", 1, 300), ("data/b", 1, 200), ("src/main.py", 1, 10)] == named(sizes)


def test_many_small_files_are_named_by_their_directory() -> None:
    sizes = {f"data/set/c{number % 10}/{number}": 10 for number in range(1000)}

    assert [("data/set/", 1000, 10000)] == named(sizes)


def test_a_directory_that_is_large_by_one_file_gives_way_to_it() -> None:
    sizes = {"data/out/model.bin": 10_000, **{f"data/out/log/{number}": 1 for number in range(300)}}

    assert ["data/out/log/", "data/out/model.bin"] == sorted(name for name, _, _ in named(sizes))


def test_what_has_many_files_counts_though_it_has_few_bytes() -> None:
    sizes = {"data/one": 10**9, **{f"src/node_modules/p{n // 10}/{n}": 100 for n in range(20_000)}}

    assert ["src/node_modules/", "data/one"] == [name for name, _, _ in named(sizes)]


def test_no_more_are_named_than_asked_for() -> None:
    assert 2 == len(named({f"data/{number}": 100 for number in range(50)}, 2))


def test_files_of_equal_size_in_one_tree_have_no_largest() -> None:
    assert [] == named({f"data/{number}": 100 for number in range(5000)})


def test_of_nothing_nothing_is_the_largest() -> None:
    assert [] == named({})


def test_empty_files_count_by_their_number() -> None:
    assert [("data/d/", 2000, 0)] == named({f"data/d/{number}": 0 for number in range(2000)})


@pytest.mark.parametrize(
    ("files", "size", "much"), [(19_999, 2**30 - 1, False), (20_000, 0, True), (1, 2**30, True)]
)
def test_much_is_a_gibibyte_or_twenty_thousand_files(files: int, size: int, much: bool) -> None:
    assert much is is_much(files, size)
