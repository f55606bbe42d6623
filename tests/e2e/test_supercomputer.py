"""A supercomputer from the laptop: from a fresh home to ranks on its nodes, and nobody logs in there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from support.elsewhere import log_in_at
from support.sandbox import Sandbox, sandbox
from support.slurm import Slurm
from support.slurm_files import Options
from support.sshd import Site, site

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

NAME = "lumi-standard-hpcexecutor"
WHERE = """\
import os, pathlib
names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "POLLINATOR_NODE_RANK", "SLURMD_NODENAME")
line = " ".join(os.environ[name] for name in names)
print(line)
pathlib.Path("result", os.environ["RANK"]).write_text(line)
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


def test_ranks_print_where_they_are_and_their_results_come_home(
    cluster: Slurm, login: Site, sandbox: Sandbox
) -> None:
    log_in_at(login, sandbox)
    home = sandbox.folder
    added = sandbox.cli("executors", "add", NAME, login.address, cwd=home, timeout=150)
    assert 0 == added.returncode, added.stderr
    made = sandbox.cli("new", "-e", NAME, "study", cwd=home)
    assert 0 == made.returncode, made.stderr
    root = home / "study"
    (root / "cfs" / "src" / "main.py").write_text(WHERE)
    wishes = ("conditions.nodes=3", "conditions.processesPerNode=2", "environment.docker=")
    settings = [word for wish in wishes for word in ("--set", wish)]

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
