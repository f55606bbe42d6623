"""Processes of a colony, run by executors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.colonies.sites import Site
from support.colony_site import Serving, serving
from support.sandbox import wait_until

pytestmark = pytest.mark.integration

WAITING, RUNNING, SUCCESS, FAILED, CANCELLED = range(5)


@pytest.fixture(scope="module")
def site(colony: Site) -> Iterator[Serving]:
    with serving(colony, "local", "colonies.processes=8", "containers.engines=none") as there:
        yield there


def test_a_process_runs_and_what_it_prints_is_in_its_log(site: Serving) -> None:
    process_id = site.submit("echo one; echo two")

    ended = site.ended(process_id)

    assert ended["state"] == SUCCESS
    assert site.printed(process_id) == "one\ntwo\n"


def test_a_process_that_fails_says_its_exit_code_and_why(site: Serving) -> None:
    process_id = site.submit("echo so; exit 7")

    ended = site.ended(process_id)

    assert ended["state"] == FAILED
    assert ended["errors"][0] == "exit code 7"
    assert (site.outcome(process_id)["reason"], site.outcome(process_id)["exit_code"]) == ("exit_code", 7)
    assert site.printed(process_id) == "so\n"


def test_the_nodes_of_a_process_are_told_while_it_runs(site: Serving, tmp_path: Path) -> None:
    process_id = site.submit(f"echo up; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    site.prints(process_id, "up")

    wait_until(lambda: "NODES" in site.attributes(process_id), "the nodes are told")

    assert site.attributes(process_id)["NODES"]
    (tmp_path / "go").touch()
    assert site.ended(process_id)["state"] == SUCCESS


def test_a_line_is_in_the_log_soon_and_one_that_has_no_end_a_second_later(
    site: Serving, tmp_path: Path
) -> None:
    process_id = site.submit(f"printf 'whole\\nhalf'; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")

    site.prints(process_id, "whole\nhalf")

    assert site.process(process_id)["state"] == RUNNING
    (tmp_path / "go").touch()
    assert site.ended(process_id)["state"] == SUCCESS
    assert site.printed(process_id) == "whole\nhalf"


def test_all_ranks_print_whole_lines_into_one_log(site: Serving) -> None:
    command = 'for i in 1 2 3 4 5 6 7 8 9; do echo "rank $RANK line $i"; done'
    process_id = site.submit(command, conditions=site.conditions(processespernode=3))

    assert site.ended(process_id)["state"] == SUCCESS

    lines = site.printed(process_id).splitlines()
    wanted = [f"rank {rank} line {line}" for rank in range(3) for line in range(1, 10)]
    assert sorted(lines) == wanted


def test_what_is_no_text_is_replaced_and_the_rest_arrives(site: Serving) -> None:
    process_id = site.submit(r"printf 'a\000b\377c\n'; printf 'dire \303\251\n'")

    assert site.ended(process_id)["state"] == SUCCESS

    assert site.printed(process_id) == "a\ufffdb\ufffdc\ndire é\n"


def test_a_process_sees_its_id_and_its_variables_and_no_key(site: Serving) -> None:
    command = 'echo "$COLONIES_PROCESS_ID $WORD"; env | grep -c PRVKEY'
    process_id = site.submit(command, env={"WORD": "a && b < c > d \"e\" 'f'"})

    site.ended(process_id)

    assert site.printed(process_id) == f"{process_id} a && b < c > d \"e\" 'f'\n0\n"


def test_a_command_with_the_signs_of_a_shell_is_run_as_it_was_meant(site: Serving) -> None:
    process_id = site.submit('true && python3 -c "print(1 < 2)"')

    assert site.ended(process_id)["state"] == SUCCESS

    assert site.printed(process_id) == "True\n"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"funcname": "dance"}, "only execute is known here"),
        ({"kwargs": {"docker-image": "", "args": [1, 2]}}, "kwargs.cmd is missing"),
        ({"kwargs": {"cmd": 7}}, "kwargs.cmd is missing"),
        (
            {"fs": {"mount": "/cfs", "dirs": [{"label": "/x", "dir": "/other"}]}},
            "none of src, data and result",
        ),
        ({"kwargs": {"pollinator": {"version": 1, "spec": {"nodes": "many"}}}}, "cannot be read"),
        ({"kwargs": {"pollinator": {"version": 1, "spec": {}}}}, "the name of a project"),
    ],
)
def test_what_cannot_be_run_is_closed_with_the_reason(site: Serving, changes: Any, said: str) -> None:
    process_id = site.submit("true", **changes)

    ended = site.ended(process_id)

    assert ended["state"] == FAILED
    assert said in "\n".join(ended["errors"])
    assert site.outcome(process_id)["reason"] in ("launch", "materialise")


def test_numbers_among_the_arguments_are_words_like_all_others(site: Serving) -> None:
    kwargs = {"docker-image": "", "cmd": "echo", "args": ["x", 1, 2.5, True]}
    process_id = site.submit("", kwargs=kwargs)

    assert site.ended(process_id)["state"] == SUCCESS

    assert site.printed(process_id) == "x 1 2.5 True\n"


def test_a_process_that_is_cancelled_is_ended_where_it_runs(site: Serving, tmp_path: Path) -> None:
    process_id = site.submit(f"echo $$ > {tmp_path}/pid; echo up; sleep 600")
    site.prints(process_id, "up")
    pid = int((tmp_path / "pid").read_text())

    site.ask("cancelprocessmsg", processid=process_id)

    wait_until(lambda: not Path(f"/proc/{pid}").exists(), "it is ended")
    wait_until(lambda: f"{process_id}.json" not in site.in_hand(), "it is out of our hands")
    assert site.process(process_id)["state"] == CANCELLED


def test_an_image_that_is_to_be_built_anew_does_not_lose_the_process(site: Serving) -> None:
    kwargs = {"docker-image": "python:3.12", "rebuild-image": True, "cmd": "echo", "args": ["built"]}
    process_id = site.submit("", kwargs=kwargs)

    ended = site.ended(process_id)

    assert (SUCCESS, "built\n") == (ended["state"], site.printed(process_id))
