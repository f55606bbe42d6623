"""What the documents say is what the program does."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pollinator.chunks.folder import FolderStore
from pollinator.cli.exits import TABLE as EXITS
from pollinator.cli.main import cli
from pollinator.daemon.metrics import TABLE
from pollinator.daemon.settings import load_settings
from pollinator.daemon.sync.engine import SyncEngine
from pollinator.executors.base import Job
from pollinator.executors.cgroups import V1, V2
from pollinator.executors.environment import RankPlace, rank_environment
from pollinator.executors.memory import SAMPLING
from pollinator.model.keys import KEYS, LISTS, VARIABLES
from pollinator.model.project import load_spec
from pollinator.v1.run_pb2 import OutcomeReason
from pollinator.v1.spec_pb2 import RunSpec
from support.documents import (
    ROOT,
    anchors,
    blocks,
    documents,
    links,
    rows,
    sections,
    text_of,
    typed_commands,
)
from support.sandbox import Sandbox, sandbox

__all__ = ["sandbox"]

SOURCES = ("proto", "pollinatord", "executors", "cli")
PLACEHOLDERS = {"COMMAND"}


def sources() -> Iterator[Path]:
    for top in SOURCES:
        yield from (path for path in (ROOT / top).rglob("*.py") if not path.match("*_pb2*.py"))


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command with its path."""
    waiting: list[tuple[str, click.Command]] = [("pollinator", cli)]
    while waiting:
        path, command = waiting.pop()
        if path != "pollinator":
            yield path, command
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                below = command.get_command(context, name)
                assert below is not None
                waiting.append((f"{path} {name}", below))


def parse(words: list[str]) -> None:
    """Parse a command line as the program does, and do nothing."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        _, found, words = command.resolve_command(click.Context(command), words)
        assert found is not None
        command = found
    if words or not isinstance(command, click.Group):
        command.make_context("pollinator", list(words))


@pytest.mark.parametrize("document", documents(), ids=str)
def test_links_lead_somewhere(document: Path) -> None:
    broken: list[str] = []
    for link in links(document):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = Path(os.path.normpath(document.parent / name)) if name else document
        if not (ROOT / target).exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


@pytest.mark.parametrize("document", documents(), ids=str)
def test_commands_to_type_are_commands(document: Path) -> None:
    wrong: list[str] = []
    for words in typed_commands(document):
        if PLACEHOLDERS.intersection(words):
            continue
        try:
            parse(words)
        except (click.exceptions.Exit, click.MissingParameter):
            continue  # --help ends at once; prose names commands without their arguments
        except click.ClickException as error:
            wrong.append(f"{' '.join(words)}: {error.message}")

    assert wrong == []


def test_documents_have_commands_to_type() -> None:
    typed = [" ".join(words) for document in documents() for words in typed_commands(document)]

    assert {"new demo", "run --follow", "rerun latest~1 --follow --set conditions.mem=2Gi"} <= set(typed)


def test_a_command_that_is_none_is_noticed() -> None:
    with pytest.raises(click.ClickException):
        parse(["run", "--folow"])
    with pytest.raises(click.ClickException):
        parse(["daemon", "explode"])


@pytest.mark.parametrize(("path", "command"), [pytest.param(*each, id=each[0]) for each in commands()])
def test_every_command_and_option_is_in_the_reference(path: str, command: click.Command) -> None:
    section = sections("docs/cli.md", "###").get(path, "")
    options = [
        param
        for param in command.params
        if isinstance(param, click.Option) and param.name != "help" and not param.hidden
    ]
    missing = [
        name
        for option in options
        for name in option.opts
        if not re.search(rf"`{re.escape(name)}[` ]", section)
    ]

    assert section
    assert missing == []


def test_the_table_of_exit_codes_is_the_programs() -> None:
    table = rows(sections("docs/cli.md", "##")["Exit codes"])

    assert table == [["code", "meaning"], *([str(row.code.value), row.meaning] for row in EXITS)]


def test_every_key_of_project_yaml_is_in_the_reference() -> None:
    table = {row[0]: row[-1] for row in rows(text_of("docs/project-yaml.md"))}
    texts = {f"`{name}`": key.text for name, key in KEYS.items()}
    texts |= {f"`{name}`": text for name, (_, text) in LISTS.items()}

    assert texts.items() <= table.items()
    assert f"`{VARIABLES}`" in table


def test_the_example_of_project_yaml_is_valid() -> None:
    (example,) = blocks("docs/project-yaml.md", "yaml")

    spec = load_spec(example.text, "project.yaml")

    assert (spec.command, spec.processes_per_node, list(spec.arguments)) == ("python3", 2, ["--steps", "100"])


def test_every_variable_that_is_read_is_documented() -> None:
    read = {f"POLLINATOR_{name.upper()}" for name in load_settings({}, Path("/nowhere")).values}
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                read |= set(
                    re.findall(
                        r"(?<![A-Z_])(?:POLLINATOR|AWS|COLONIES|COLONYOS)_[A-Z0-9_]*[A-Z0-9]", node.value
                    )
                )

    documented = set(re.findall(r"`_?([A-Z][A-Z0-9_]+)`", text_of("docs/environment.md")))
    assert read - documented - {"AWS_S3"} == set()


def test_every_variable_of_a_rank_is_documented() -> None:
    place = RankPlace(0, 0, 0, ("node",), "127.0.0.1", 1)
    seen = rank_environment(Job("id", RunSpec(nodes=1, processes_per_node=1), Path("/w")), place)

    contract = sections("docs/environment.md", "##")["What every rank sees"]

    assert [name for name in seen if f"`{name}`" not in contract] == []


def test_every_way_to_limit_memory_is_documented() -> None:
    told = sections("docs/environment.md", "##")["Memory"]

    assert [word for word in (V1, V2, SAMPLING) if f"`{word}`" not in told] == []


def test_every_setting_is_documented_with_its_default() -> None:
    table = rows(sections("docs/daemon.md", "##")["Settings"])[1:]
    settings = load_settings({}, Path("/nowhere")).values

    expected = [
        [f"`{name}`", f"`POLLINATOR_{name.upper()}`", f"`{each.value}`", each.description]
        for name, each in settings.items()
    ]

    assert expected == table


def test_every_metric_is_documented() -> None:
    table = rows(sections("docs/daemon.md", "##")["Metrics"])[1:]

    expected = [
        [f"`{each.name}`", each.kind, ", ".join(f"`{label}`" for label in each.labels), each.text]
        for each in TABLE
    ]

    assert expected == table


def test_every_reason_why_a_run_ended_is_documented() -> None:
    names = list(OutcomeReason.keys())
    words = {name.removeprefix("OUTCOME_REASON_").lower() for name in names} - {"unspecified"}
    table = {row[0].strip("`") for row in rows(sections("docs/errors.md", "##")["Why a run ended"])}

    assert words == table - {"reason"}


def test_every_module_is_on_the_map() -> None:
    text = sections("docs/architecture.md", "###")["Module map"]
    named = set(re.findall(r"`(?:[a-z]+\.)?([a-z0-9_]+)`", text))
    whole = set(re.findall(r"`([a-z]+)\.\*`", text))
    modules = {
        path.relative_to(ROOT).as_posix()
        for path in sources()
        if path.stem != "__init__" and path.parent.name not in whole and path.parent != ROOT / "proto"
    }

    assert {module for module in modules if Path(module).stem not in named} == set()


def test_tests_that_documents_name_are_there() -> None:
    named = re.findall(
        r"`((?:unit|property|integration|contract|e2e)/[\w/]+\.py)(?:::(\w+))?`",
        "".join(text_of(document) for document in documents()),
    )
    lost = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / "tests" / path).is_file()
        or (name and f"def {name}(" not in (ROOT / "tests" / path).read_text())
    ]

    assert [] == lost
    assert len(named) > 30


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    names = [re.split(r"[^\w-]", each)[0] for each in project["dependencies"]]
    reasons = {row[0].replace("`", "") for row in rows(text_of("docs/decisions/0002-dependencies.md"))}

    given = {name for reason in reasons for name in reason.split(", ")}

    assert [name for name in names if name not in given] == []


def test_a_store_is_read_by_the_program_in_its_document(tmp_path: Path) -> None:
    tree = tmp_path / "demo" / "cfs"
    (tree / "src" / "many").mkdir(parents=True)
    (tree / "data" / "empty").mkdir(parents=True)
    for number in range(1100):
        (tree / "src" / "many" / f"file{number}").write_text(f"{number}" * 50)
    (tree / "data" / "big").write_bytes(os.urandom(3 << 20))
    (tree / "data" / "link").symlink_to("big")
    with (tree / "data" / "holes").open("wb") as file:
        file.truncate(5 << 20)
        file.seek(3 << 20)
        file.write(b"x")
    (tree / "src" / "run.sh").touch(0o755)
    engine = SyncEngine(tmp_path / "demo", tmp_path / "index.db", FolderStore(tmp_path / "store"))
    sealed = engine.seal(RunSpec())
    engine.close()
    (reader,) = blocks("docs/store.md", "python")
    out = tmp_path / "out"

    command = [sys.executable, "-c", reader.text, str(tmp_path / "store"), sealed.ref.key, str(out)]
    subprocess.run(command, check=True, timeout=30)

    assert subprocess.run(["diff", "-r", "--no-dereference", tree, out], check=False).returncode == 0
    assert os.access(out / "src" / "run.sh", os.X_OK)


@pytest.mark.e2e
@pytest.mark.timeout(120)
def test_the_client_in_the_document_starts_and_follows_a_run(sandbox: Sandbox) -> None:
    root = sandbox.project(program="print('hello'); raise SystemExit(3)\n")
    assert sandbox.cli("daemon", "start", cwd=root).returncode == 0
    (client,) = blocks("docs/api.md", "python")

    ended = subprocess.run(
        [sys.executable, "-c", client.text, str(root)],
        env=sandbox.env,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (3, b"hello\n") == (ended.returncode, ended.stdout), ended.stderr
    assert b"RUN_STATE_FAILED" in ended.stderr
