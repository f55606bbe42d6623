"""The files of a new project."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
import yaml

from pollinator.cli.scaffold import Plan, make_project, project_name, project_text
from pollinator.cli.schema_file import install_schema, schema_text
from pollinator.cli.terminal import Terminal
from pollinator.model.project import load_spec
from pollinator.wire.errors import AlreadyExists, Denied, Exhausted, InvalidInput
from support.disk import full_disk

FILES = {"project.yaml", ".pollinatorignore", "cfs/src/main.py", "cfs/data/hello.txt"}


def plan(directory: Path, *, executor: str = "local", name: str = "", here: bool = False) -> Plan:
    return Plan(directory=directory, executor=executor, name=name, here=here)


def make(wanted: Plan) -> str:
    """Make it; returns what was said."""
    err = io.StringIO()
    make_project(wanted, Terminal(io.StringIO(), err, {}))
    return err.getvalue()


def files_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_a_new_project_has_the_files_of_the_original_and_the_ignore_file(home: Path) -> None:
    root = home / "demo"

    make(plan(root))

    assert files_below(root) == FILES
    assert (root / "cfs" / "result").is_dir()
    assert (root / "cfs" / "data" / "hello.txt").read_bytes() == b"Hello world!"


def test_each_thing_made_is_told_as_the_original_told_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    (home / "empty").mkdir()
    monkeypatch.chdir(home / "empty")

    said = make(plan(Path()))

    assert said.startswith("Creating directory  Dir=./cfs/src\n")
    assert "Generating  Filename=./project.yaml\n" in said


def test_project_yaml_is_a_valid_spec_for_the_schema_and_the_model(home: Path) -> None:
    make(plan(home / "demo", name="demo"))

    text = (home / "demo" / "project.yaml").read_text("utf-8")
    spec = load_spec(text, "project.yaml")
    jsonschema.validate(yaml.safe_load(text), yaml.safe_load(schema_text()))

    assert (spec.project, list(spec.executor_names), spec.image) == ("demo", ["local"], "")
    assert (spec.command, spec.source, spec.walltime_ms) == ("python3", "main.py", 600_000)


def test_another_executor_gets_the_originals_image(home: Path) -> None:
    make(plan(home / "demo", executor="lumi-std"))

    spec = load_spec((home / "demo" / "project.yaml").read_text("utf-8"), "project.yaml")

    assert (list(spec.executor_names), spec.image) == (["lumi-std"], "python:3.12-rc-bookworm")


@pytest.mark.parametrize("executor", ["no", "a: b", "1e3", 'quo"te', "@NAME@", "ex#1"])
def test_odd_names_of_executors_are_quoted(executor: str) -> None:
    spec = load_spec(project_text("x", executor, "file:///s"), "project.yaml")

    assert list(spec.executor_names) == [executor]


def test_the_first_line_names_a_schema_that_is_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "with space"))

    make(plan(home / "demo"))

    first = (home / "demo" / "project.yaml").read_text("utf-8").splitlines()[0]
    address = first.removeprefix("# yaml-language-server: $schema=")
    assert " " not in address
    assert Path(unquote(urlsplit(address).path)).read_text("utf-8") == schema_text()


def test_a_copy_of_another_version_is_renewed(home: Path) -> None:
    path = install_schema()
    path.write_text("{}")

    assert install_schema() == path
    assert path.read_text("utf-8") == schema_text()


def test_a_folder_with_files_is_refused_and_left_alone(home: Path) -> None:
    root = home / "full"
    root.mkdir()
    (root / "mine").touch()

    with pytest.raises(AlreadyExists) as caught:
        make(plan(root))

    assert caught.value.reason == "directory_not_empty"
    assert "--here" in caught.value.hint
    assert os.listdir(root) == ["mine"]


@pytest.mark.parametrize("here", [False, True])
def test_no_project_is_made_among_the_files_of_another(home: Path, here: bool) -> None:
    make(plan(home / "outer"))
    make(plan(home / "outer" / "beside", here=here))
    for name in ("cfs/src/inner", "cfs"):
        with pytest.raises(InvalidInput) as caught:
            make(plan(home / "outer" / name, here=here))

        assert caught.value.reason == "inside_project"
    assert ["main.py"] == os.listdir(home / "outer/cfs/src")


def test_a_folder_with_nothing_but_git_is_empty(home: Path) -> None:
    root = home / "cloned"
    (root / ".git").mkdir(parents=True)

    make(plan(root))

    assert (root / "project.yaml").is_file()


def test_here_adds_what_is_missing_and_touches_nothing(home: Path) -> None:
    root = home / "old"
    (root / "cfs" / "data").mkdir(parents=True)
    (root / "project.yaml").write_text("projectname: mine\n")
    (root / "cfs" / "data" / "hello.txt").write_text("mine")
    (root / "notes").touch()
    before = (root / "project.yaml").stat()

    make(plan(root, here=True))

    assert files_below(root) == FILES | {"notes"}
    assert (root / "cfs" / "data" / "hello.txt").read_text() == "mine"
    assert (root / "project.yaml").stat().st_mtime_ns == before.st_mtime_ns
    assert (root / "project.yaml").read_text() == "projectname: mine\n"


def test_here_puts_no_sample_beside_a_job_of_ones_own(home: Path) -> None:
    root = home / "old"
    (root / "cfs" / "src").mkdir(parents=True)
    (root / "cfs" / "src" / "train.py").touch()

    make(plan(root, here=True))

    assert not (root / "cfs" / "src" / "main.py").exists()


def test_here_twice_does_nothing_the_second_time(home: Path) -> None:
    make(plan(home / "demo"))

    assert make(plan(home / "demo", here=True)) == ""


def test_a_full_disk_leaves_no_half_file_and_is_no_question_of_permissions(home: Path) -> None:
    with full_disk(0), pytest.raises(Exhausted) as caught:
        make(plan(home / "demo", name="demo"))

    assert caught.value.reason == "disk_full"
    assert files_below(home / "demo") == set()


def test_names_are_readable_valid_and_unlike(home: Path) -> None:
    first, second = project_name(home / "Mein Pröjekt!"), project_name(home / "Mein Pröjekt!")

    assert first.startswith("mein-pr-jekt-")
    assert first != second


@pytest.mark.parametrize("name", ["a b", "../x", ".hidden", "ä", "a/b"])
def test_a_name_that_cannot_be_one_is_refused(home: Path, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        make(plan(home / "demo", name=name))

    assert caught.value.reason == "bad_name"
    assert not (home / "demo").exists()


def test_a_file_in_the_way_is_an_error(home: Path) -> None:
    (home / "file").touch()

    with pytest.raises(AlreadyExists):
        make(plan(home / "file"))
    with pytest.raises(Denied):
        make(plan(home / "file" / "below"))


def test_the_sample_prints_and_leaves_a_result(home: Path) -> None:
    make(plan(home / "demo"))
    work = home / "demo" / "cfs"
    environment = {**os.environ, "PROJECT_DIR": str(work), "COLONIES_PROCESS_ID": "p1"}

    done = subprocess.run(
        [sys.executable, work / "src" / "main.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    assert {"Process: p1", "Data: Hello world!", f"Project: {work}"} <= set(done.stdout.splitlines())
    assert os.uname().nodename in done.stdout
    assert (work / "result" / "result.txt").read_text() == "HELLO WORLD!\n"
