"""What imports what: contracts hold the code to it, and what a command imports is what its start costs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from support.sandbox import BIN
from support.source import SOURCES, copy_sources

HEAVY = frozenset(
    {
        "aiohttp",
        "asyncio",
        "boto3",
        "botocore",
        "coincurve",
        "google.protobuf",
        "grpc",
        "jsonschema",
        "keyring",
        "watchdog",
        "yaml",
    }
)
VIOLATIONS = {
    "layers of the whole": ("pollinatord/pollinator/chunks/keys.py", "import pollinator.executors.base"),
    "layers of the whole: a package of no layer": ("pollinatord/pollinator/extra/__init__.py", ""),
    "the command line sees only the wire": ("cli/pollinator/cli/exits.py", "import pollinator.chunks.store"),
    "layers of the daemon": ("pollinatord/pollinator/daemon/scan.py", "import pollinator.daemon.registry"),
    "layers of the daemon: a module of no layer": ("pollinatord/pollinator/daemon/extra.py", ""),
    "decisions do no input or output": ("pollinatord/pollinator/daemon/runs/plan.py", "import os"),
    "layers of the executors, where none knows another": (
        "executors/pollinator/executors/host.py",
        "import pollinator.executors.local",
    ),
    "layers of the executors, where none knows another: a module of no layer": (
        "executors/pollinator/executors/extra.py",
        "",
    ),
    "heavy clients in one module each": ("pollinatord/pollinator/chunks/folder.py", "import boto3"),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources."""
    copy = tmp_path_factory.mktemp("tree")
    copy_sources(copy, [*SOURCES, "pyproject.toml"])
    return copy


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Check the copy and not the installed sources: -S keeps their .pth file from being read."""
    path = [*(str(tree / each) for each in SOURCES), sysconfig.get_path("purelib")]
    program = (
        "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    )
    return subprocess.run(
        [sys.executable, "-S", "-c", program, "--no-logo"],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_an_untouched_copy_keeps_every_contract(tree: Path) -> None:
    checked = lint_imports(tree)

    assert 0 == checked.returncode, checked.stdout
    assert " 0 broken" in checked.stdout


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_broken_contract_is_named(tree: Path, violation: str) -> None:
    name, line = VIOLATIONS[violation]
    path = tree / name
    before = path.read_text() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{before or ''}\n{line}\n")

    checked = lint_imports(tree)

    if before is None:
        shutil.rmtree(path.parent) if path.name == "__init__.py" else path.unlink()
    else:
        path.write_text(before)
    assert 1 == checked.returncode, checked.stdout
    assert [violation.partition(":")[0]] == re.findall(r"(?m)^(.+?) BROKEN", checked.stdout)
    assert not line or line.removeprefix("import ") in checked.stdout.partition("Broken contracts")[2]


def test_a_daemon_without_metrics_imports_nothing_for_them() -> None:
    program = (
        "import sys, pollinator.daemon.main; print([name for name in sys.modules if 'prometheus' in name])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "[]\n" == done.stdout


@pytest.mark.parametrize(
    "module",
    ["daemon.main", "executors.main", "executors.local", "executors.slurm.executor", "cli.commands.run"],
)
def test_who_uses_no_colony_imports_nothing_for_it(module: str) -> None:
    program = (
        f"import sys, pollinator.{module}; print({{'aiohttp', 'coincurve', 'keyring'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "set()\n" == done.stdout


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["--version"], ["schema"], ["completion", "bash"]]
)
def test_a_command_that_talks_to_nobody_imports_nothing_heavy(arguments: list[str]) -> None:
    command = [sys.executable, "-X", "importtime", str(BIN / "pollinator"), *arguments]

    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=True)

    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "click" in imported
    assert set() == {name for name in imported for heavy in HEAVY if (name + ".").startswith(heavy + ".")}
