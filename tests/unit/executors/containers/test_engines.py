"""Which engine is taken, and what is said when none works."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from pollinator.executors.containers.engines import (
    ON_A_CLUSTER,
    ON_A_LAPTOP,
    Engine,
    Engines,
    check_order,
    probe_engine,
)
from pollinator.executors.containers.images import ContainerImages
from pollinator.executors.containers.use import Containers
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import InvalidInput, WrongState
from support.sandbox import wait_until

PODMAN = Engine("podman", "/usr/bin/podman", "4.3.1")
APPTAINER = Engine("apptainer", "/usr/bin/apptainer", "1.4.5")


def probe(name: str) -> Engine | str:
    return {"podman": PODMAN, "apptainer": APPTAINER}.get(name, "it is not installed")


def test_the_first_that_works_is_taken() -> None:
    engines = Engines(ON_A_LAPTOP, probe)

    assert [PODMAN, APPTAINER] == engines.working()
    assert PODMAN == engines.choose("")
    assert APPTAINER == Engines(["apptainer", "podman"], probe).choose("")


def test_the_one_that_is_wished_for_is_taken() -> None:
    assert APPTAINER == Engines(ON_A_LAPTOP, probe).choose("apptainer")


def test_the_host_can_be_wished_for() -> None:
    assert Engines(ON_A_LAPTOP, probe).choose("none") is None


def test_without_an_engine_there_is_the_host() -> None:
    assert Engines(ON_A_LAPTOP, lambda name: "it is not installed").choose("") is None
    assert Engines([]).choose("") is None


@pytest.mark.parametrize(
    ("order", "wish", "expected"),
    [
        (
            ON_A_CLUSTER,
            "",
            "; remove environment.docker if that is meant, else install apptainer or singularity there",
        ),
        ([], "", "; remove environment.docker if that is meant"),
        (ON_A_CLUSTER, "none", ""),
    ],
)
def test_who_names_an_image_where_no_engine_works_is_told_what_to_do(
    order: list[str], wish: str, expected: str
) -> None:
    engines = Engines(order, lambda name: "it is not installed")
    containers = Containers(engines, ContainerImages(engines))

    _, (notice,) = containers.check(RunSpec(image="img", engine=wish))

    assert expected == notice.text.partition("the command runs on the host, not in img")[2]


@pytest.mark.parametrize(
    ("order", "why"), [(ON_A_LAPTOP, "not installed"), (["podman"], "not among those that are used here")]
)
def test_one_that_is_wished_for_and_does_not_work_is_refused_with_the_reason(
    order: list[str], why: str
) -> None:
    with pytest.raises(WrongState) as caught:
        Engines(order, probe).choose("docker")

    assert "no_container_engine" == caught.value.reason
    assert why in caught.value.message


def test_engines_are_asked_once() -> None:
    asked: list[str] = []

    def counting(name: str) -> Engine | str:
        asked.append(name)
        return probe(name)

    engines = Engines(ON_A_LAPTOP, counting)
    for _ in range(3):
        engines.working()

    assert sorted(ON_A_LAPTOP) == sorted(asked)


def test_one_that_hangs_holds_nobody_up_for_longer_than_was_said() -> None:
    answers = threading.Event()

    def hanging(name: str) -> Engine | str:
        answers.wait(20)
        return PODMAN

    engines = Engines(["podman"], hanging)
    before = engines.working(0.01)
    answers.set()
    wait_until(lambda: bool(engines.working(0.01)), "it answers")

    assert [] == before


def test_an_order_is_words_with_commas_between() -> None:
    assert ("podman", "apptainer") == check_order("podman, apptainer", ON_A_LAPTOP)
    assert ON_A_LAPTOP == check_order("", ON_A_LAPTOP)
    assert () == check_order("none", ON_A_LAPTOP)


@pytest.mark.parametrize("text", ["dokcer", "docker,none", "docker,,podman"])
def test_an_order_that_names_no_engine_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_order(text, ON_A_LAPTOP)

    assert "containers.engines" == caught.value.violations[0].where


# Programs


def script(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_a_version_is_found_in_what_a_program_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, "singularity", "echo singularity-ce version 4.1.2-jammy", monkeypatch)
    found = probe_engine("singularity")

    assert isinstance(found, Engine)
    assert ("4.1.2-jammy", "singularity-4", True) == (found.version, found.major, found.converts)


def test_a_client_without_a_daemon_is_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path, "docker", "echo; echo Cannot connect to the Docker daemon >&2; exit 1", monkeypatch)

    assert "Cannot connect to the Docker daemon" == probe_engine("docker")


def test_what_is_not_there_is_no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "it is not installed" == probe_engine("podman")
