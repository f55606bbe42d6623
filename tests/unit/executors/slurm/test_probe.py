"""What a cluster offers is read from its own programs, and kept with its age."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pollinator.executors.slurm.probe import Nodes, gpus, keep, kept, probe, seconds
from pollinator.wire.errors import Unavailable
from support.slurm_site import PARTITIONS, PROBE, site


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UNLIMITED", 0),
        ("NONE", 0),
        ("infinite", 0),
        ("", 0),
        ("00:30:00", 1800),
        ("2-00:00:00", 172_800),
        ("1-12", 129_600),
        ("5:00", 300),
        ("60", 3600),
    ],
)
def test_times_of_slurm_are_read(text: str, expected: int) -> None:
    assert expected == seconds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(null)", {}),
        ("gpu:4", {"gpu": 4}),
        ("gpu:fake:2", {"fake": 2}),
        ("gpu:a100:4(S:0-1)", {"a100": 4}),
        ("gpu:a100_80gb:4(S:0,2),gpu:v100:2(S:1),license:3", {"a100_80gb": 4, "v100": 2}),
        ("shard:8,gpu:h100:1,gpu:h100:1", {"h100": 2}),
        ("mps:100,craynetwork:4", {}),
        ("gpu:4(S:0-1)", {"gpu": 4}),
    ],
)
def test_gpus_are_read_by_their_model(text: str, expected: dict[str, int]) -> None:
    assert expected == gpus(text)


async def test_a_cluster_is_asked_for_its_limits(tmp_path: Path) -> None:
    assert replace(PROBE, asked_at=7.0) == await probe(site(tmp_path / "bin"), 7.0)


async def test_a_cluster_without_accounts_is_probed_all_the_same(tmp_path: Path) -> None:
    commands = site(
        tmp_path / "bin",
        sacct="echo 'Slurm accounting storage is disabled' >&2; exit 1",
        sacctmgr="echo 'You are not running a supported accounting_storage plugin' >&2; exit 1",
    )

    found = await probe(commands, 7.0)

    assert (False, (), ()) == (found.accounting, found.accounts, found.qos)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("JobSubmitPlugins = lua", []),
        ("JobSubmitPlugins = require_timelimit,cray/lua", []),
        ("nothing that we know", []),
        ("JobSubmitPlugins = (null)\nAccountingStorageEnforce = none", ["partition"]),
        (
            "JobSubmitPlugins = job_submit/throttle\nAccountingStorageEnforce = associations,limits",
            ["partition", "account"],
        ),
    ],
)
async def test_all_names_are_known_only_where_slurm_takes_no_other(
    tmp_path: Path, config: str, expected: list[str]
) -> None:
    partitions = f"cat <<'END'\n{PARTITIONS}END"
    answer = f"case \"$*\" in *config) echo '{config}';; *) {partitions}\n;; esac"

    found = await probe(site(tmp_path / "bin", scontrol=answer), 7.0)

    assert expected == list(found.names)


async def test_accounting_that_is_down_is_accounting(tmp_path: Path) -> None:
    words = "sacct: error: Problem talking to the database: Connection refused"

    found = await probe(site(tmp_path / "bin", sacct=f"echo '{words}' >&2; exit 1"), 7.0)

    assert found.accounting


async def test_a_cluster_that_does_not_answer_has_no_limits(tmp_path: Path) -> None:
    words = "slurm_load_partitions error: Unable to contact slurm controller (connect failure)"

    with pytest.raises(Unavailable):
        await probe(site(tmp_path / "bin", scontrol=f"echo '{words}' >&2; exit 1"), 7.0)


async def test_nodes_that_cannot_be_read_are_no_answer(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as garbled:
        await probe(site(tmp_path / "bin", sinfo="echo debug up infinite"), 7.0)

    assert "slurm_garbled" == garbled.value.reason


async def test_a_cluster_without_partitions_is_none(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        await probe(site(tmp_path / "bin", scontrol="echo"), 7.0)


def test_what_was_asked_is_kept(tmp_path: Path) -> None:
    keep(tmp_path / "cluster.json", PROBE)

    assert PROBE == kept(tmp_path / "cluster.json")


def test_what_was_kept_in_another_format_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    keep(path, PROBE)
    path.write_text(path.read_text().replace('"format": 2', '"format": 1'))

    assert kept(path) is None


@pytest.mark.parametrize("text", ["", "{}", '{"format": 0}', '{"format": 2, "partitions": [{}]}', "[]"])
def test_a_file_that_cannot_be_read_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "cluster.json").write_text(text)

    assert kept(tmp_path / "cluster.json") is None
    assert kept(tmp_path / "other.json") is None


def test_clients_are_told_of_the_largest_node_of_each_partition() -> None:
    told = PROBE.capabilities()

    first = told.cluster.partitions[0]
    assert ("debug", 0, 5, 64_000, 2000 << 20, {"a100": 4, "fake": 2}) == (
        first.name,
        first.max_walltime_ms,
        first.nodes,
        first.cpu_millis,
        first.memory_bytes,
        dict(first.gpus),
    )
    assert (64_000, 2000 << 20, 5, ["a100", "fake"]) == (
        told.cpu_millis,
        told.memory_bytes,
        told.nodes,
        list(told.gpus),
    )
    assert ("slurm 22.05.8", [True, True, False], PROBE.asked_at) == (
        told.cluster.version,
        [each.up for each in told.cluster.partitions],
        told.cluster.probe_time.ToSeconds(),
    )


def test_memory_that_a_partition_does_not_give_is_not_offered() -> None:
    (kind,) = (Nodes(1, 2, 2000 << 20, {}),)
    short = next(each for each in PROBE.partitions if each.name == "short")

    assert 1000 << 20 == replace(short, kinds=(kind,), max_memory_bytes=1000 << 20).memory_bytes
