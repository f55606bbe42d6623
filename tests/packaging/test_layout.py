"""The house rules that can be counted: where code lies, how long it is, and that it says why it exists."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

import pytest

from support.source import ROOT, SOURCES, hand_written, project_files

MODULE_LINES = 400
FUNCTION_LINES = 40
NO_NAMES = frozenset({"utils", "util", "helpers", "helper", "common", "manager", "misc"})

Function = ast.FunctionDef | ast.AsyncFunctionDef


def parsed(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"), name)


def own_lines(function: Function) -> int:
    """How long it is without its docstring: what explains is not what has to be explained."""
    last = function.end_lineno or function.lineno
    whole = last - function.lineno + 1
    if ast.get_docstring(function) is None:
        return whole
    docstring = function.body[0]
    return whole - ((docstring.end_lineno or docstring.lineno) - docstring.lineno + 1)


def test_below_every_source_root_is_one_folder_that_is_no_package() -> None:
    for root in SOURCES:
        folders = [path.name for path in (ROOT / root).iterdir() if path.is_dir()]

        # How an executor is brought up somewhere is no module.
        assert ["pollinator"] == [name for name in folders if name not in ("__pycache__", "deploy")]
        assert not (ROOT / root / "pollinator/__init__.py").exists()


def test_every_folder_of_modules_is_a_package() -> None:
    modules = [PurePosixPath(name) for name in project_files() if name.endswith(".py")]
    folders = {path.parent for path in modules if path.parts[0] in SOURCES and len(path.parts) > 2}

    assert [] == sorted(str(each) for each in folders if not (ROOT / each / "__init__.py").exists())


@pytest.mark.parametrize("package", ["v1", "wire", "model", "chunks", "daemon", "executors", "cli"])
def test_every_package_says_that_it_is_typed(package: str) -> None:
    [found] = [root for root in SOURCES if (ROOT / root / "pollinator" / package).exists()]

    assert (ROOT / found / "pollinator" / package / "py.typed").exists()


def test_there_is_no_code_in_init_modules() -> None:
    inits = [name for name in hand_written() if name.endswith("__init__.py")]
    with_code = [name for name in inits if any(not isinstance(each, ast.Expr) for each in parsed(name).body)]

    assert [] == with_code


def test_every_module_says_why_it_exists() -> None:
    assert [] == [name for name in hand_written() if not ast.get_docstring(parsed(name))]


def test_no_module_is_a_drawer_for_anything() -> None:
    assert [] == [name for name in hand_written() if PurePosixPath(name).stem in NO_NAMES]


def test_no_module_is_too_long() -> None:
    lengths = {name: (ROOT / name).read_text().count("\n") for name in hand_written()}

    assert {} == {name: length for name, length in lengths.items() if length > MODULE_LINES}


def test_no_function_is_too_long() -> None:
    too_long = {
        f"{name}:{node.lineno} {node.name}": own_lines(node)
        for name in hand_written()
        for node in ast.walk(parsed(name))
        if isinstance(node, Function) and own_lines(node) > FUNCTION_LINES
    }

    assert {} == too_long
