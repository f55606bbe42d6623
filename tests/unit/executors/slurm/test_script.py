"""The job script: what is asked for is in it, what users write stays text, the rest is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollinator.executors.conformance.asking import make_spec
from pollinator.executors.slurm.script import Place, Site, job_script, memory, merged, tasks_cpus
from pollinator.v1.spec_pb2 import Gpu, Slurm
from pollinator.wire.errors import InvalidInput

HOSTILE = [
    "$(touch owned)",
    "`touch owned`",
    "a && touch owned",
    "; touch owned",
    "$HOME",
    "it's",
    'say "hi"',
    "back\\slash",
    "a # b",
    "--wrap=touch",
    "é→ü",
    "*",
    "%j",
    "a\tb",
    "${x:-y}",
    "\\",
    '"',
    "!!",
    "-n",
]
TEXT = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1))
FIELDS = ("partition", "account", "qos", "constraint", "reservation")


def script(
    wishes: Slurm | None = None,
    *,
    command: tuple[str, ...] = ("true",),
    site: Site | None = None,
    **changes: Any,
) -> str:
    place = Place("run-1", Path("/state/runs/run-1"), command, 5000)
    return job_script(make_spec(**changes), wishes or Slurm(), place, site or Site())


def options(text: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]


def refused(wishes: Slurm, **changes: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        script(wishes, **changes)
    return [(each.where, each.message) for each in caught.value.violations]


WHOLE = """\
#!/bin/bash -l
#SBATCH --job-name=pollinator-run-1
#SBATCH --comment=pollinator:run-1
#SBATCH --chdir=/state/runs/run-1
#SBATCH --output=/state/runs/run-1/job.log
#SBATCH --open-mode=append
#SBATCH --export=NONE
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=2
#SBATCH --mem=1024M
#SBATCH --gres=gpu:a100:2
#SBATCH --requeue
#SBATCH --time=11
#SBATCH --signal=B:USR2@60
#SBATCH --partition=gpu
#SBATCH --account=project_1
#SBATCH --qos=high
#SBATCH --constraint="a&b"
#SBATCH --reservation=r
#SBATCH --mail-type=END
#SBATCH --exclusive
#SBATCH --gpus=2
module load cray-python/3.11 rocm || exit 1
exec /opt/py -m x '/state/a b'
"""


def test_everything_that_is_asked_for_is_in_it() -> None:
    wishes = Slurm(partition="gpu", account="project_1", qos="high", constraint="a&b", reservation="r")
    wishes.modules[:] = ["cray-python/3.11", "rocm"]
    wishes.directives[:] = ["--mail-type=END", "--exclusive", "--gpus=2"]

    text = script(
        wishes,
        command=("/opt/py", "-m", "x", "/state/a b"),
        nodes=3,
        processes_per_node=2,
        cpu_millis=3000,
        memory_bytes=1 << 30,
        gpu=Gpu(count=2, name="a100"),
        walltime_ms=600_000,
        signal="USR1@60",
        requeue=True,
    )

    assert WHOLE == text


def test_what_is_not_asked_for_is_left_to_slurm() -> None:
    names = [each.partition("=")[0] for each in options(script(walltime_ms=0))]

    assert [
        *("--job-name", "--comment", "--chdir", "--output", "--open-mode", "--export"),
        *("--nodes", "--ntasks-per-node", "--cpus-per-task", "--no-requeue"),
    ] == names


@given(st.lists(TEXT, min_size=1, max_size=3), st.sampled_from(FIELDS), TEXT, TEXT)
def test_nothing_that_users_write_is_expanded_run_or_lost(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], field: str, value: str, module: str
) -> None:
    folder = tmp_path_factory.mktemp("empty")
    wishes = Slurm(**{field: value}, directives=[f"--mail-user={value}"])
    text = script(wishes, command=("printf", r"%s\0", *words))
    # As a module: what the shell hands to the command of that name.
    with_module = script(Slurm(modules=[module]), command=("true",)).replace("#!/bin/bash -l\n", "")
    loads = f"module() {{ printf '%s\\0' \"$@\"; }}\n{with_module}"

    printed = [
        subprocess.run(["bash", "-c", each], cwd=folder, capture_output=True, check=True).stdout.decode()
        for each in (text, loads)
    ]

    assert ["\0".join([*words, ""]), "\0".join(["load", module, ""])] == printed
    assert [] == list(folder.iterdir())
    assert len(options(text)) + 2 == len(text.splitlines())


@pytest.mark.parametrize("bad", ["a\nb", "a\x00b", "a\x1bb", "a\rb", " a", "a ", "", "x" * 5000])
@pytest.mark.parametrize("field", FIELDS)
def test_what_no_script_can_hold_is_refused_by_the_name_of_its_key(field: str, bad: str) -> None:
    if bad:
        assert [f"slurm.{field}"] == [where for where, _ in refused(Slurm(**{field: bad}))]
    assert ["slurm.directives"] == [where for where, _ in refused(Slurm(directives=[f"--licenses={bad}"]))]
    assert ["slurm.modules"] == [where for where, _ in refused(Slurm(modules=[bad]))]


@pytest.mark.parametrize("directive", ["-n 5", "exclusive", "--", "--=x", "--Exclusive", "--a b", "--a\n--b"])
def test_a_directive_is_one_long_option(directive: str) -> None:
    assert ["slurm.directives"] == [where for where, _ in refused(Slurm(directives=[directive]))]


def test_a_directive_that_is_ours_names_the_key_to_use() -> None:
    assert [("slurm.directives", "--mem is set by Pollinator; use conditions.mem")] == refused(
        Slurm(directives=["--mem=5G"])
    )
    assert [("slurm.directives", "--output is set by Pollinator")] == refused(Slurm(directives=["--outp=/x"]))
    assert [("slurm.directives", "--array is set by Pollinator")] == refused(
        Slurm(directives=["--array=0-9"])
    )


def test_a_gpu_has_a_plain_name() -> None:
    assert ["conditions.gpu.name"] == [
        where for where, _ in refused(Slurm(), gpu=Gpu(count=1, name="a100:2,craynetwork"))
    ]


def test_any_gpu_will_do_where_none_is_named() -> None:
    assert "--gres=gpu:2" in options(script(gpu=Gpu(count=2)))


def test_the_partition_of_the_run_comes_before_that_of_the_cluster() -> None:
    site = Site(partition="chosen")

    assert "--partition=chosen" in options(script(site=site))
    assert "--partition=wished" in options(script(Slurm(partition="wished"), site=site))


@pytest.mark.parametrize(
    ("walltime_ms", "longest_ms", "minutes"),
    [(1, 0, 1), (25_000, 0, 1), (25_001, 0, 2), (3_600_000, 0, 61), (3_600_000, 3_600_000, 60)],
)
def test_slurms_limit_leaves_room_for_our_own_end(walltime_ms: int, longest_ms: int, minutes: int) -> None:
    text = script(walltime_ms=walltime_ms, site=Site(longest_ms=longest_ms))

    assert f"--time={minutes}" in options(text)


@pytest.mark.parametrize(
    ("size", "written"),
    [(1, "1K"), (1024, "1K"), (1 << 20, "1M"), ((1 << 20) + 1, "1025K"), (5 << 30, "5120M")],
)
def test_memory_is_never_less_than_asked_for(size: int, written: str) -> None:
    assert written == memory(size)


@pytest.mark.parametrize(
    ("millis", "ranks", "cpus"),
    [(0, 4, 1), (100, 1, 1), (1000, 1, 1), (1001, 1, 2), (8000, 3, 3), (9000, 3, 3)],
)
def test_the_cores_of_a_node_are_shared_by_its_ranks_and_rounded_up(
    millis: int, ranks: int, cpus: int
) -> None:
    assert cpus == tasks_cpus(make_spec(cpu_millis=millis, processes_per_node=ranks))


def test_wishes_of_the_run_come_before_the_settings() -> None:
    settings = Slurm(account="a", qos="q", modules=["m"], directives=["--x=1"])

    assert Slurm(account="b", qos="q", modules=["n"], directives=["--x=1", "--x=2"]) == merged(
        settings, Slurm(account="b", modules=["n"], directives=["--x=2"])
    )
    assert settings == merged(settings, Slurm())


def test_percent_signs_in_our_own_path_are_no_patterns() -> None:
    text = job_script(make_spec(), Slurm(), Place("r", Path("/50%j"), ["true"], 0), Site())

    assert "--output=/50%%j/job.log" in options(text)


def test_a_path_in_which_slurm_writes_no_output_is_refused() -> None:
    with pytest.raises(InvalidInput):
        job_script(make_spec(), Slurm(), Place("r", Path("/a\\b"), ["true"], 0), Site())
