"""A supercomputer from the laptop: from a fresh home to ranks on its nodes, and nobody logs in there."""

from __future__ import annotations

import json
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.containers import apptainer, small_archive
from support.elsewhere import log_in_at
from support.image_files import RELEASE, small_image
from support.people import ground, ordinary_user
from support.sandbox import Sandbox, sandbox
from support.slurm import Slurm
from support.slurm_files import Options
from support.sshd import Site, site

__all__ = ["ground", "ordinary_user", "sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME = "lumi-standard-hpcexecutor"
WHERE = """\
import os, pathlib
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "POLLINATOR_NODE_RANK", "SLURMD_NODENAME")
line = " ".join(os.environ[name] for name in names)
print(line)
pathlib.Path("result", os.environ["RANK"]).write_text(line)
"""
RELEASED = """\
import os
release = dict(line.strip().split("=", 1) for line in open("/etc/os-release") if "=" in line)
print(release["PRETTY_NAME"].strip('"'), os.environ["RANK"], os.getcwd())
"""


@pytest.fixture(scope="module", params=[False, True], ids=["no_accounting", "accounting"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Slurm]:
    """Three nodes, with and without slurmdbd."""
    made = Slurm(Options(accounting=request.param))
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def login(cluster: Slurm) -> Iterator[Site]:
    """The login node of the cluster."""
    with site(variables=cluster.env) as made:
        yield made
        made.end_all()


def new_project(sandbox: Sandbox, login: Site, program: str) -> Path:
    """What a user does first: add the site, and make a project for it."""
    log_in_at(login, sandbox)
    home = sandbox.folder
    added = sandbox.cli("executors", "add", NAME, login.address, cwd=home, timeout=150)
    assert 0 == added.returncode, added.stderr
    assert b"PARTITION" in added.stdout, added.stdout
    made = sandbox.cli("new", "-e", NAME, "study", cwd=home)
    assert 0 == made.returncode, made.stderr
    (home / "study" / "cfs" / "src" / "main.py").write_text(program)
    return home / "study"


def wishes(*conditions: str, image: str) -> list[str]:
    """As options."""
    settings = [*(f"conditions.{each}" for each in conditions), f"environment.docker={image}"]
    return [word for setting in settings for word in ("--set", setting)]


def test_ranks_print_where_they_are_and_their_results_come_home(
    cluster: Slurm, login: Site, sandbox: Sandbox
) -> None:
    root = new_project(sandbox, login, WHERE)
    settings = wishes("nodes=3", "processesPerNode=2", image="")

    script = sandbox.cli("run", "--dry-run", *settings, cwd=root).stdout.decode()
    run = sandbox.cli("run", "--follow", *settings, cwd=root, timeout=100)
    listed = sandbox.cli("executors", "show", NAME, "--json", cwd=root)
    sandbox.kill_everything()

    nodes = list(cluster.nodes)
    expected = [f"{rank} {rank % 2} 6 {rank // 2} {nodes[rank // 2]}" for rank in range(6)]
    assert 0 == run.returncode, run.stderr
    assert [f"[{rank}] {line}" for rank, line in enumerate(expected)] == sorted(
        run.stdout.decode().splitlines()
    )
    assert expected == [(root / "cfs" / "result" / str(rank)).read_text() for rank in range(6)]
    assert "#SBATCH --nodes=3\n#SBATCH --ntasks-per-node=2\n" in script
    about = json.loads(listed.stdout)
    assert ("slurm", "connected") == (about["kind"], about["reach"])
    assert about["capabilities"]["cluster"]["version"].startswith("slurm ")
    assert [] == cluster.queued()


def test_what_the_cluster_does_not_have_is_refused_before_it_is_submitted(
    cluster: Slurm, login: Site, sandbox: Sandbox
) -> None:
    root = new_project(sandbox, login, WHERE)

    typo = sandbox.cli("run", "--set", "slurm.partition=shrot", cwd=root)
    nowhere = sandbox.cli("run", "--set", "conditions.nodes=4", cwd=root)
    listed = sandbox.cli("list", "--json", cwd=root)
    sandbox.kill_everything()

    assert (2, 2, b"") == (typo.returncode, nowhere.returncode, listed.stdout)
    assert "slurm.partition: there is no partition 'shrot'; did you mean 'short'?" in typo.stderr.decode()
    assert "\n  debug: 4 nodes is above 3\n  short: 4 nodes is above 2\n" in nowhere.stderr.decode()
    assert typo.stderr.decode().endswith(f"pollinator executors show {NAME}\n")


def test_an_image_is_converted_for_the_first_run_and_there_for_the_second(
    cluster: Slurm, login: Site, sandbox: Sandbox
) -> None:
    apptainer()
    root = new_project(sandbox, login, RELEASED)
    settings = wishes("nodes=3", "processesPerNode=2", "cpu=2", image=small_archive())

    first = sandbox.cli("run", "--follow", *settings, cwd=root, timeout=150)
    converted = images(sandbox, root)
    second = sandbox.cli("run", "--follow", *settings, cwd=root, timeout=100)
    again = images(sandbox, root)
    sandbox.kill_everything()

    printed = sorted(f"[{rank}] {RELEASE} {rank} /cfs" for rank in range(6))
    for run in (first, second):
        assert 0 == run.returncode, run.stderr
        assert printed == sorted(run.stdout.decode().splitlines())
    assert ["apptainer"] == [each["engine"] for each in converted]
    kept = Path(converted[0]["location"])
    assert kept.is_relative_to(login.home)
    assert [converted[0]["digest"]] == [each["digest"] for each in again]
    assert [kept.name] == [path.name for path in kept.parent.iterdir()]


def test_an_ordinary_account_is_enough_for_images(
    cluster: Slurm, ordinary_user: str, ground: Path, sandbox: Sandbox
) -> None:
    apptainer()
    if cluster.options.accounting:
        cluster.add_user(ordinary_user)
    archive = small_image().archive(ground / "image.oci.tar")
    archive.chmod(0o644)
    ground.chmod(0o755)
    with site(user=ordinary_user, variables=cluster.env) as login:
        root = new_project(sandbox, login, RELEASED + "print(os.getuid())\n")
        settings = wishes("nodes=3", "cpu=2", image=f"oci-archive:{archive}")
        run = sandbox.cli("run", "--follow", *settings, cwd=root, timeout=150)
        converted = images(sandbox, root)
        sandbox.kill_everything()

        user = pwd.getpwnam(ordinary_user).pw_uid
        expected = [f"[{rank}] {line}" for rank in range(3) for line in (f"{RELEASE} {rank} /cfs", str(user))]
        assert 0 == run.returncode, run.stderr
        assert sorted(expected) == sorted(run.stdout.decode().splitlines())
        assert [user] == [Path(each["location"]).stat().st_uid for each in converted]
        assert [] == cluster.queued()


def images(sandbox: Sandbox, root: Path) -> list[dict[str, Any]]:
    """Images that are ready there."""
    listed = sandbox.cli("images", "list", "--executor", NAME, "--json", cwd=root)
    return [json.loads(line) for line in listed.stdout.splitlines()]
