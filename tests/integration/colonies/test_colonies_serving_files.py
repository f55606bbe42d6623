"""Projects of the original program, run by executors of ours: their files come, and their results go home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.executors.conformance.trees import random_bytes
from support.colonies.sites import Site
from support.colony_project import ColonyProject
from support.colony_site import Serving, serving
from support.s3_servers import S3Server
from support.sandbox import wait_until

pytestmark = pytest.mark.integration

SUCCESS, FAILED, CANCELLED = 2, 3, 4
MAIN = b"""\
import os, pathlib, sys
work = pathlib.Path(os.environ["PROJECT_DIR"])
print(sorted(str(each.relative_to(work)) for each in work.rglob("*") if each.is_file()))
import lib.inner
result = work / "result"
(result / "deep" / "er").mkdir(parents=True)
(result / "deep" / "er" / "answer.txt").write_text((work / "data" / "hello.txt").read_text() + lib.inner.WORD)
(result / "empty").touch()
sys.exit(int(os.environ.get("CODE", "0")))
"""
SOURCES = {
    "main.py": MAIN,
    "lib/__init__.py": b"",
    "lib/inner/__init__.py": b"WORD = '!'\n",
}
DATA = {"hello.txt": b"Hello world!", "sub/none": b""}
SEEN = (
    "['data/hello.txt', 'data/sub/none', 'src/lib/__init__.py', 'src/lib/inner/__init__.py', 'src/main.py']\n"
)
RESULTS = {"deep/er/answer.txt": b"Hello world!!", "empty": b""}


@pytest.fixture(scope="module")
def site(colony: Site, colony_s3: S3Server) -> Iterator[Serving]:
    environment = colony_s3.environment()
    with serving(colony, "local", "colonies.processes=8", "containers.engines=none", **environment) as there:
        yield there


@pytest.fixture
def project(site: Serving, colony_s3: S3Server) -> ColonyProject:
    made = ColonyProject(site.site, site.user, colony_s3)
    made.put("src", SOURCES)
    made.put("data", DATA)
    return made


def test_a_project_of_the_original_runs_and_its_results_arrive(site: Serving, project: ColonyProject) -> None:
    process_id = site.submit("", **project.spec(project.snapshot(), "main.py"))

    ended = site.ended(process_id)

    assert ended["state"] == SUCCESS, ended["errors"]
    assert (SEEN, RESULTS) == (site.printed(process_id), project.results())


def test_the_results_of_a_run_that_fails_arrive_as_well(site: Serving, project: ColonyProject) -> None:
    spec = project.spec(project.snapshot(), "main.py")
    spec["env"]["CODE"] = "3"
    process_id = site.submit("", **spec)

    ended = site.ended(process_id)

    assert (FAILED, "exit code 3") == (ended["state"], ended["errors"][0])
    assert RESULTS == project.results()


def test_the_results_of_a_run_that_is_cancelled_arrive_as_well(site: Serving, project: ColonyProject) -> None:
    project.put(
        "src",
        {
            "main.py": b"""\
import time
open('result/part', 'w').write('so far')
print('up')
time.sleep(600)
"""
        },
    )
    process_id = site.submit("", **project.spec(project.snapshot(), "main.py"))
    site.prints(process_id, "up")

    site.ask("cancelprocessmsg", processid=process_id)

    wait_until(lambda: {"part": b"so far"} == project.results(), "what there is arrives")


def test_earlier_results_stay_and_those_of_the_same_name_are_the_newest(
    site: Serving, project: ColonyProject
) -> None:
    project.put("result", {"empty": b"no more", "old/one": b"1"})
    process_id = site.submit("", **project.spec(project.snapshot(), "main.py"))

    assert site.ended(process_id)["state"] == SUCCESS

    assert RESULTS | {"old/one": b"1"} == project.results()


def test_a_run_sees_exactly_its_snapshot_and_only_what_has_changed_is_fetched(
    site: Serving, project: ColonyProject
) -> None:
    large = random_bytes(3_000_000)
    project.put("src", {"large.bin": large, "gone.py": b"print()"})
    assert site.ended(site.submit("", **project.spec(project.snapshot(), "main.py")))["state"] == SUCCESS
    project.remove("src", "gone.py")
    project.put("src", {"lib/inner/__init__.py": b"WORD = '?'\n"})

    process_id = site.submit("", **project.spec(project.snapshot(), "main.py"))

    assert site.ended(process_id)["state"] == SUCCESS
    assert "gone.py" not in site.printed(process_id)
    assert "large.bin" in site.printed(process_id)
    assert b"Hello world!?" == project.results()["deep/er/answer.txt"]


def test_names_that_lead_elsewhere_are_refused_and_the_process_says_so(
    site: Serving, project: ColonyProject
) -> None:
    project.add(f"{project.label('src')}/x", b"evil", name="../../../../evil.txt")

    ended = site.ended(site.submit("", **project.spec(project.snapshot(), "main.py")))

    assert ended["state"] == FAILED
    assert "evil.txt" in "\n".join(ended["errors"])
    assert [] == list(site.state.rglob("evil.txt"))


def test_a_snapshot_that_is_not_there_ends_the_process_with_the_reason(
    site: Serving, project: ColonyProject
) -> None:
    process_id = site.submit("", **project.spec("0" * 64, "main.py"))

    ended = site.ended(process_id)

    assert ended["state"] == FAILED
    assert "Snapshot not found" in "\n".join(ended["errors"])
    assert "materialise" == site.outcome(process_id)["reason"]
    assert site.printed(process_id).startswith("pollinator: ")


def test_many_processes_of_one_project_at_once_all_see_their_own(
    site: Serving, project: ColonyProject
) -> None:
    ids: list[str] = []
    for number in range(8):
        project.put("src", {"main.py": b"print('version %d')\n" % number})
        ids.append(site.submit("", **project.spec(project.snapshot(), "main.py")))

    assert [SUCCESS] * 8 == [site.ended(each, 60)["state"] for each in ids]
    assert [f"version {number}\n" for number in range(8)] == [site.printed(each) for each in ids]


@pytest.mark.double_only("has a bucket that is stopped")
def test_a_bucket_that_is_away_holds_up_nobody_who_does_not_need_it(
    site: Serving, project: ColonyProject, colony_s3: S3Server
) -> None:
    snapshot_id = project.snapshot()
    colony_s3.stop()
    try:
        waits = site.submit("", **project.spec(snapshot_id, "main.py"))
        wait_until(lambda: f"{waits}.json" in site.in_hand(), "it is in hand")

        other = site.ended(site.submit("echo meanwhile"))

        assert (SUCCESS, 1) == (other["state"], site.process(waits)["state"])
    finally:
        colony_s3.start()
    assert site.ended(waits, 60)["state"] == SUCCESS
    assert RESULTS == project.results()


@pytest.mark.parametrize(
    "point", ["before_colony_capture", "before_colony_start", "after_colony_results", "before_colony_close"]
)
def test_a_kill_on_the_way_loses_neither_files_nor_results(
    colony: Site, colony_s3: S3Server, tmp_path: Path, point: str
) -> None:
    crash = {"POLLINATOR_CRASH_AT": f"{point}@{tmp_path}"}
    with serving(colony, "local", "containers.engines=none", **colony_s3.environment(), **crash) as site:
        project = ColonyProject(colony, site.user, colony_s3)
        project.put("src", SOURCES)
        project.put("data", DATA)
        process_id = site.submit("", **project.spec(project.snapshot(), "main.py"))
        site.died()

        site.start("containers.engines=none")

        assert site.ended(process_id)["state"] == SUCCESS
        assert (SEEN, RESULTS) == (site.printed(process_id), project.results())
