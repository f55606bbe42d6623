"""What differs for one run, and specs that come from elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from pollinator.model.project import apply_overrides, check_spec, load_spec, spec_settings
from pollinator.v1.run_pb2 import SpecOverrides
from pollinator.v1.spec_pb2 import EnvironmentVariable, Gpu, Kubernetes, RunSpec, Tunnel
from pollinator.wire.errors import InvalidInput, Violation

TEXT = """\
projectname: p
conditions: {executorNames: [local], mem: 1Gi}
environment: {cmd: python3, args: [a], env: {B: "1", A: "2"}}
"""


def spec() -> RunSpec:
    return load_spec(TEXT, "project.yaml")


def variables(spec: RunSpec) -> list[tuple[str, str]]:
    return [(each.name, each.value) for each in spec.environment]


def wrong(overrides: SpecOverrides) -> list[Violation]:
    with pytest.raises(InvalidInput) as caught:
        apply_overrides(spec(), overrides)

    assert "bad_spec" == caught.value.reason
    return list(caught.value.violations)


def test_nothing_different_is_the_same() -> None:
    assert spec() == apply_overrides(spec(), SpecOverrides())


def test_the_spec_given_is_left_alone() -> None:
    given = spec()
    apply_overrides(given, SpecOverrides(set=["conditions.mem=2Gi"], arguments=["b"], executor="x"))

    assert spec() == given


def test_settings_of_one_run_replace_those_of_the_project() -> None:
    words = "conditions.mem=2Gi conditions.gpu.count=2 tunnel.localPort=80 environment.docker=a=b"
    changed = apply_overrides(spec(), SpecOverrides(set=words.split()))

    assert (2 << 30, Gpu(count=2), Tunnel(local_port=80), "a=b") == (
        changed.memory_bytes,
        changed.gpu,
        changed.tunnel,
        changed.image,
    )


@pytest.mark.parametrize(("written", "meant"), [("yes", True), ("On", True), ("no", False), ("off", False)])
def test_truth_may_be_written_as_in_files_of_the_original(written: str, meant: bool) -> None:
    changed = apply_overrides(spec(), SpecOverrides(set=[f"environment.rebuildImage={written}"]))

    assert meant == changed.rebuild_image


def test_the_last_of_two_settings_counts() -> None:
    changed = apply_overrides(spec(), SpecOverrides(set=["conditions.mem=2Gi", "conditions.mem=3Gi"]))

    assert 3 << 30 == changed.memory_bytes


@pytest.mark.parametrize(("written", "read"), [("x", ["x"]), ("x, y,,z", ["x", "y", "z"]), ("", [])])
def test_a_list_is_written_with_commas(written: str, read: list[str]) -> None:
    changed = apply_overrides(spec(), SpecOverrides(set=[f"conditions.executorNames={written}"]))

    assert read == changed.executor_names


@pytest.mark.parametrize("queue", ["night.2", ""])
def test_a_run_may_be_put_in_another_queue_or_in_that_of_the_executor(queue: str) -> None:
    given = RunSpec(kubernetes=Kubernetes(queue="team"))

    assert queue == apply_overrides(given, SpecOverrides(set=[f"kubernetes.queue={queue}"])).kubernetes.queue


def test_arguments_come_after_those_of_the_project() -> None:
    assert ["a", "b", "c"] == apply_overrides(spec(), SpecOverrides(arguments=["b", "c"])).arguments


def test_variables_are_added_or_replaced_and_sorted() -> None:
    given = [EnvironmentVariable(name="B", value="3"), EnvironmentVariable(name="AA", value="4")]

    assert [("A", "2"), ("AA", "4"), ("B", "3")] == variables(
        apply_overrides(spec(), SpecOverrides(environment=given))
    )


def test_the_executor_of_one_run_is_the_only_one() -> None:
    assert ["other"] == apply_overrides(spec(), SpecOverrides(executor="other")).executor_names


def test_a_container_once_required_stays_so() -> None:
    first = apply_overrides(spec(), SpecOverrides(require_container=True))

    assert apply_overrides(first, SpecOverrides()).require_container


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("conditions.mem", "write KEY=VALUE, for example conditions.mem=4Gi"),
        ("conditions.mem=lots", "'lots' is not an amount of memory; write 1000Mi or 4Gi"),
        ("conditions.memory=1", "is not a setting; did you mean 'conditions.mem'?"),
        ("environment.env.A=1", "use --env NAME=VALUE for variables"),
        ("projectname=q", "names the project's files and cannot differ for one run"),
        ("conditions.nodes=", "'' is not a whole number from 1 to 1000000"),
        (
            "kubernetes.queue=Team",
            "'Team' is no name of an object: use small letters, digits, '-' and '.'",
        ),
        ("environment.source=a\0", "'a\\x00' holds U+0000, which no program can be given"),
        ("environment.args=a\0", "'a\\x00' holds U+0000, which no program can be given"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_told(setting: str, message: str) -> None:
    name = setting.partition("=")[0]

    assert [Violation(f"--set {name}", message)] == wrong(SpecOverrides(set=[setting]))


def test_a_variable_that_cannot_be_meant_is_told() -> None:
    given = [EnvironmentVariable(name="A-B"), EnvironmentVariable(name="C", value="\0")]

    assert [
        Violation("--env A-B", "is not the name of a variable"),
        Violation("--env C", "holds NUL, which no program can be given"),
    ] == wrong(SpecOverrides(environment=given))


def test_what_is_read_from_a_file_is_a_spec() -> None:
    check_spec(spec())
    check_spec(apply_overrides(spec(), SpecOverrides(arguments=["b"], executor="x")))


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"project": ""}, "projectname"),
        ({"project": "../other"}, "projectname"),
        ({"command": ""}, "environment.cmd"),
        ({"command": "a 'b"}, "environment.cmd"),
        ({"command": "a\0"}, "environment.cmd"),
        ({"nodes": 0}, "conditions.nodes"),
        ({"processes_per_node": 0}, "conditions.processesPerNode"),
        ({"nodes": 2**31}, "conditions.nodes"),
        ({"source": "../../etc/passwd"}, "environment.source"),
        ({"arguments": ["a", "\0"]}, "environment.args"),
        ({"environment": [EnvironmentVariable(name="A=B")]}, "environment.env.A=B"),
        ({"environment": [EnvironmentVariable(name="A", value="\0")]}, "environment.env.A"),
        ({"tunnel": Tunnel(local_port=70000)}, "tunnel.localPort"),
    ],
)
def test_a_spec_that_no_file_leads_to_is_refused(changes: dict[str, Any], where: str) -> None:
    right: dict[str, Any] = {"project": "p", "command": "a", "nodes": 1, "processes_per_node": 1}
    given = RunSpec(**right | changes)

    with pytest.raises(InvalidInput) as caught:
        check_spec(given)
    assert [where] == [each.where for each in caught.value.violations]


def test_settings_are_shown_by_their_keys() -> None:
    assert {
        "projectname": "p",
        "conditions.executorNames": "local",
        "conditions.mem": "1Gi",
        "conditions.nodes": "1",
        "conditions.processesPerNode": "1",
        "environment.cmd": "python3",
        "environment.args": "a",
        "environment.env.A": "2",
        "environment.env.B": "1",
    } == spec_settings(spec())
