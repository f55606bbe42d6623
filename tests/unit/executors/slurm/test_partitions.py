"""A run goes to a partition whose limits allow it, and one that fits nowhere is told why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pollinator.executors.slurm.partitions import choose, duration, gpu_model, notices
from pollinator.v1.spec_pb2 import Gpu, RunSpec, Slurm
from pollinator.wire.errors import InvalidInput
from support.slurm_site import PROBE

HOUR_MS = 3_600_000
DEBUG, SHORT, DEAD = PROBE.partitions


def spec(**wishes: Any) -> RunSpec:
    """A run of one node with these wishes; those that only Slurm knows are among them."""
    slurm = Slurm(**{name: wishes.pop(name) for name in ("partition", "account", "qos") if name in wishes})
    wishes.setdefault("nodes", 1)
    return RunSpec(processes_per_node=1, slurm=slurm, **wishes)


def test_a_run_that_fits_goes_to_the_default_partition() -> None:
    assert "debug" == choose(PROBE, spec(walltime_ms=HOUR_MS))


def test_a_run_that_does_not_fit_there_goes_to_the_smallest_that_allows_it() -> None:
    default = replace(DEBUG, max_walltime_s=600)
    big = replace(SHORT, name="big", max_walltime_s=7200)
    middle = replace(SHORT, name="middle", max_walltime_s=3600)
    probe = replace(PROBE, partitions=(default, big, middle, SHORT))

    assert "middle" == choose(probe, spec(walltime_ms=HOUR_MS))
    assert "short" == choose(probe, spec(walltime_ms=HOUR_MS // 2))
    assert "debug" == choose(probe, spec(walltime_ms=HOUR_MS // 6))


def test_a_partition_that_is_down_or_reserved_is_not_chosen() -> None:
    down = replace(DEBUG, up=False)
    reserved = replace(SHORT, name="mine", max_walltime_s=60, reserved=True)

    assert "short" == choose(replace(PROBE, partitions=(down, reserved, SHORT)), spec())
    with pytest.raises(InvalidInput):
        choose(replace(PROBE, partitions=(down, reserved)), spec())


def test_a_run_with_small_wishes_leaves_gpus_to_others() -> None:
    gpu = replace(DEBUG, name="gpu", default=False, max_walltime_s=1800, max_nodes=1)

    assert "short" == choose(replace(PROBE, partitions=(gpu, SHORT)), spec())
    assert "gpu" == choose(replace(PROBE, partitions=(gpu, SHORT)), spec(gpu=Gpu(count=1, name="a100")))


def test_a_partition_that_is_named_is_taken_if_the_run_fits() -> None:
    assert "short" == choose(PROBE, spec(partition="short"))
    assert "dead" == choose(PROBE, spec(partition="dead", account="proj", qos="high"))


@pytest.mark.parametrize(
    ("wishes", "where", "text"),
    [
        ({"partition": "shrot"}, "slurm.partition", "there is no partition 'shrot'; did you mean 'short'?"),
        ({"partition": "x"}, "slurm.partition", "there is no partition 'x'; known are debug, short"),
        ({"partition": "debug,x"}, "slurm.partition", "there is no partition 'x'; known are debug, short"),
        ({"account": "prj"}, "slurm.account", "there is no account of yours 'prj'; did you mean 'proj'?"),
        ({"qos": "x"}, "slurm.qos", "there is no QoS 'x'; known are high, normal"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_those_that_are(
    wishes: dict[str, str], where: str, text: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        choose(PROBE, spec(**wishes))

    assert "cannot_run_here" == refused.value.reason
    assert [(where, text)] == [(each.where, each.message) for each in refused.value.violations]


@pytest.mark.parametrize("wishes", [{"partition": "x"}, {"account": "x"}, {"qos": "x"}])
def test_a_name_is_for_sbatch_to_judge_where_not_all_are_known(wishes: dict[str, str]) -> None:
    assert wishes.get("partition", "debug") == choose(replace(PROBE, names={}), spec(**wishes))


@pytest.mark.parametrize("wishes", [{"partition": "short,debug"}, {"partition": "hidden"}, {"qos": "urgent"}])
def test_a_name_that_is_there_for_others_is_for_sbatch_to_judge(wishes: dict[str, str]) -> None:
    names = PROBE.names | {"partition": ("short", "debug", "dead", "hidden")}

    assert wishes.get("partition", "debug") == choose(replace(PROBE, names=names), spec(**wishes))


@pytest.mark.parametrize(
    ("wishes", "text"),
    [
        ({"walltime_ms": HOUR_MS}, "walltime 1 h is above 30 min"),
        ({"nodes": 2}, "2 nodes is above 1"),
        ({"cpu_millis": 2001}, "3 cores is above 2 on its largest node"),
        ({"memory_bytes": 1 << 31}, "2 GiB of memory is above 1.46 GiB on its largest node"),
        (
            {"gpu": Gpu(count=1, name="a100")},
            "GPU 1 x a100 is not there, 2 x fake on its largest node",
        ),
        ({"gpu": Gpu(count=3)}, "GPU 3 x any is not there, 2 x fake on its largest node"),
    ],
)
def test_what_a_partition_does_not_allow_is_said_with_both_numbers(wishes: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        choose(PROBE, spec(partition="short", **wishes))

    assert "this run does not fit into the partition that it names" == refused.value.message
    assert ["slurm.partition"] == [each.where for each in refused.value.violations]
    assert f"short: {text}" == refused.value.violations[0].message


def test_nodes_must_have_all_that_is_asked_for_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        choose(PROBE, spec(partition="debug", nodes=2, gpu=Gpu(count=1, name="a100")))

    assert "debug: 2 nodes is above 1 that have all that is asked for" == refused.value.violations[0].message


def test_a_run_that_fits_nowhere_is_told_what_is_too_much_for_the_nearest_partitions() -> None:
    day = replace(SHORT, name="day", max_walltime_s=86_400, max_nodes=4)
    many = tuple(replace(SHORT, name=f"short{number:02}") for number in range(30))
    week = replace(DEBUG, name="week", max_walltime_s=604_800, max_nodes=8)
    probe = replace(PROBE, partitions=(DEAD, *many, day, week))

    with pytest.raises(InvalidInput) as refused:
        choose(probe, spec(nodes=2, walltime_ms=10 * 24 * HOUR_MS))

    assert "cannot_run_here" == refused.value.reason
    assert [
        "week: walltime 10 days is above 7 days",
        "day: walltime 10 days is above 1 day",
        "short00: walltime 10 days is above 30 min; 2 nodes is above 1",
        "30 more: further from what it asks for",
    ] == [f"{each.where}: {each.message}" for each in refused.value.violations]
    assert all(len(each.message) < 75 for each in refused.value.violations)
    assert "all limits: pollinator executors show NAME" == refused.value.hint


def test_partitions_that_take_nothing_now_come_last_and_say_so() -> None:
    mine = replace(SHORT, name="mine", reserved=True)

    with pytest.raises(InvalidInput) as refused:
        choose(replace(PROBE, partitions=(replace(DEBUG, up=False), mine, SHORT)), spec(nodes=9))

    assert [
        "short: 9 nodes is above 1",
        "debug: 9 nodes is above 5; is down now",
        "mine: 9 nodes is above 1; is reserved",
    ] == [f"{each.where}: {each.message}" for each in refused.value.violations]


@pytest.mark.parametrize(
    ("wishes", "text"),
    [
        ({"account": "root"}, "dead: account root is not admitted"),
        ({"account": "proj", "qos": "normal"}, "dead: QoS normal is not admitted"),
    ],
)
def test_who_is_not_admitted_is_told_so(wishes: dict[str, str], text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        choose(PROBE, spec(partition="dead", **wishes))

    assert text == refused.value.violations[0].message


def test_a_partition_that_admits_none_of_the_users_accounts_is_not_chosen() -> None:
    closed = replace(DEBUG, accounts=("theirs",))

    assert "short" == choose(replace(PROBE, partitions=(closed, SHORT)), spec())
    assert "debug" == choose(replace(PROBE, partitions=(closed, SHORT), accounts=()), spec())


def test_a_gpu_is_asked_for_as_the_cluster_spells_it() -> None:
    assert "a100" == gpu_model(PROBE, spec(gpu=Gpu(count=1, name="A100")))
    assert "h100" == gpu_model(PROBE, spec(gpu=Gpu(count=1, name="h100")))
    assert not gpu_model(PROBE, spec(gpu=Gpu(count=1)))
    assert "debug" == choose(PROBE, spec(gpu=Gpu(count=4, name="A100")))


@pytest.mark.parametrize(
    ("partition", "walltime_ms", "expected"),
    [
        ("short", 0, [("walltime_default", "no conditions.walltime is set: partition short gives it 5 min")]),
        ("short", HOUR_MS, []),
        ("debug", 0, []),
        (
            "dead",
            0,
            [
                (
                    "walltime_default",
                    "no conditions.walltime is set: partition dead gives it the longest it allows, 2 days",
                ),
                ("partition_down", "partition dead is down now: the run waits until it is up again"),
            ],
        ),
        ("nobody-knows", 0, []),
    ],
)
def test_what_a_partition_does_of_itself_is_told(
    partition: str, walltime_ms: int, expected: list[tuple[str, str]]
) -> None:
    told = notices(PROBE, spec(walltime_ms=walltime_ms), partition)

    assert expected == [(each.code, each.text) for each in told]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (60, "1 min"), (5400, "1 h 30 min"), (86_400, "1 day"), (183_600, "2 days 3 h")],
)
def test_durations_are_written_for_people(seconds: int, text: str) -> None:
    assert text == duration(seconds)
