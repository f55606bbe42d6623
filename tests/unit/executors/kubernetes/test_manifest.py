"""The Job of a run, from data: exact, restricted, and taken by the cluster's own schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pollinator.executors.base import Job
from pollinator.executors.kubernetes.data import Manifest
from pollinator.executors.kubernetes.manifest import (
    LONGEST_WORD,
    Wish,
    job_manifest,
    secret_manifest,
    service_manifest,
)
from pollinator.executors.kubernetes.naming import QUEUE, USER, is_ours, job_name, label_value, metadata
from pollinator.executors.kubernetes.settings import Site, read_settings
from pollinator.executors.kubernetes.volume import Volume
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import InvalidInput
from support.kubernetes.kinds import JOB, SECRET, SERVICE
from support.kubernetes.schemas import check

STATE = Path("/volume/state")
RUN = "01m8c8tyqqaze0bjrzpy7s112z"
OWNER = {"name": "pollinator-x", "uid": "7"}


def wish_for(secrets: Mapping[str, str] | None = None, attempt: int = 1, **changes: Any) -> Wish:
    fields: dict[str, Any] = {"project": "demo", "nodes": 1, "processes_per_node": 1}
    fields |= {"command": "python3 -S", "image": "python:3.12"}
    fields |= changes
    spec = RunSpec(**fields)
    job = Job(RUN, spec, STATE / "runs" / RUN)
    return Wish(job, attempt, "e1", 12_345, 5000, secrets or {})


def made(site: Site | None = None, **changes: Any) -> Manifest:
    wish = wish_for(**changes)
    site = site or Site(claim="files")
    volume = Volume("files", Path("/volume"), STATE, site.user, site.group)
    return job_manifest(wish, site, volume.parts(wish.job, wish.attempt))


def pod_of(manifest: Manifest) -> Manifest:
    pod: Manifest = manifest["spec"]["template"]["spec"]
    return pod


def ranks_of(manifest: Manifest) -> Manifest:
    container: Manifest = pod_of(manifest)["containers"][0]
    return container


def site(**settings: str) -> Site:
    return read_settings({f"kubernetes.{name}": value for name, value in settings.items()})


@pytest.mark.parametrize("nodes", [1, 3])
def test_the_schema_of_the_cluster_takes_all_objects(nodes: int) -> None:
    named = site(
        claim="files",
        queue="team",
        node_selector="disk=ssd",
        tolerations="dedicated=runs:NoSchedule",
        gpus="a100=nvidia.com/gpu:nvidia.com/gpu.product=A100",
        priority_class="low",
        pull_secrets="one,two",
    )
    wish = wish_for({"TOKEN": "x"}, nodes=nodes)
    job = made(
        named,
        nodes=nodes,
        cpu_millis=1500,
        memory_bytes=1 << 30,
        walltime_ms=60_000,
        gpu={"count": 2, "name": "a100"},
        init_command="true",
        signal="USR1@10",
        secrets={"TOKEN": "x"},
    )

    check(JOB, job)
    check(SECRET, secret_manifest(wish, OWNER))
    check(SERVICE, service_manifest(wish, OWNER))


def test_limits_are_exactly_what_was_asked_for() -> None:
    resources = ranks_of(made(cpu_millis=1500, memory_bytes=100 << 20))["resources"]

    assert {"cpu": "1500m", "memory": str(100 << 20)} == resources["limits"]
    assert resources["limits"] == resources["requests"]
    assert "resources" not in ranks_of(made())


def test_gpus_are_called_what_the_cluster_calls_them() -> None:
    named = site(gpus="a100=nvidia.com/gpu:product=A100,*=amd.com/gpu")
    one, other = made(named, gpu={"count": 2, "name": "a100"}), made(named, gpu={"count": 1})

    assert "2" == ranks_of(one)["resources"]["limits"]["nvidia.com/gpu"]
    assert {"product": "A100"} == pod_of(one)["nodeSelector"]
    assert "1" == ranks_of(other)["resources"]["limits"]["amd.com/gpu"]
    with pytest.raises(InvalidInput) as caught:
        made(named, gpu={"count": 1, "name": "h100"})
    assert ["conditions.gpu.name"] == [each.where for each in caught.value.violations]


def test_the_queue_of_a_run_comes_before_that_of_the_executor() -> None:
    named = site(queue="team")
    queues = [
        made(one, kubernetes={"queue": queue})["metadata"]["labels"].get(QUEUE)
        for one in (site(), named)
        for queue in ("", "night")
    ]

    assert [None, "night", "team", "night"] == queues
    assert made(named)["spec"]["suspend"]
    assert "suspend" not in made()["spec"]


@pytest.mark.parametrize(
    ("user", "label"),
    [("ada", "ada"), ("", None), ("LAB\\ada", label_value("LAB\\ada")), ("a" * 70, label_value("a" * 70))],
)
def test_a_job_says_whose_run_it_is(user: str, label: str | None) -> None:
    wish = wish_for()
    wish.job.source.user = user
    about = metadata(wish.job, 1, "e1")

    assert (label, user or None) == (about["labels"].get(USER), about["annotations"].get(USER))
    assert label is None or len(label) <= 63


def test_a_queued_run_is_not_ended_by_its_walltime() -> None:
    manifest = made(walltime_ms=60_000)

    assert "activeDeadlineSeconds" not in manifest["spec"]
    assert pod_of(manifest)["activeDeadlineSeconds"] > 60 + 600
    assert "activeDeadlineSeconds" not in pod_of(made())


def test_pods_are_restricted_and_have_no_account() -> None:
    pod = pod_of(made())

    assert True is pod["securityContext"]["runAsNonRoot"]
    assert {"type": "RuntimeDefault"} == pod["securityContext"]["seccompProfile"]
    assert "fsGroup" not in pod["securityContext"]
    assert (False, False) == (pod["automountServiceAccountToken"], pod["enableServiceLinks"])
    assert {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}} == ranks_of(made())[
        "securityContext"
    ]


def test_the_cluster_begins_nothing_again() -> None:
    spec = made(nodes=3)["spec"]

    assert (0, "Failed", "Indexed", 3, 3) == tuple(
        spec[name]
        for name in ("backoffLimit", "podReplacementPolicy", "completionMode", "completions", "parallelism")
    )
    assert "Never" == spec["template"]["spec"]["restartPolicy"]
    assert {"FailJob"} == {rule["action"] for rule in spec["podFailurePolicy"]["rules"]}


def test_only_four_folders_of_the_run_are_mounted() -> None:
    mounts = {
        each["mountPath"]: (each["subPath"], each["readOnly"])
        for each in ranks_of(made(attempt=2))["volumeMounts"]
        if each["name"] == "runs"
    }
    below = f"state/runs/{RUN}"

    assert {
        "/cfs": (f"{below}/work", False),
        "/cfs/src": (f"{below}/work/src", True),
        "/pollinator/output": (f"{below}/output", False),
        "/pollinator/control": (f"{below}/control/2", False),
    } == mounts


def test_which_node_it_is_is_for_the_cluster_to_say() -> None:
    name = "JOB_COMPLETION_INDEX"
    given = [{"name": name, "value": "7"}, {"name": "OTHER", "value": "x"}]
    container = ranks_of(made(environment=given))
    secret = ranks_of(made(secrets={name: "7", "TOKEN": "x"}))

    assert ["OTHER"] == [each["name"] for each in container["env"] if each["name"] in ("OTHER", name)]
    assert ["TOKEN"] == [each["name"] for each in secret["env"] if each["name"] in ("TOKEN", name)]


def test_what_a_kubelet_would_put_variables_into_is_left_as_it_is() -> None:
    environment = [{"name": "GREETING", "value": "$(HOME) $$ $x"}]
    container = ranks_of(made(arguments=["$(HOME)", "$$", "a$b"], environment=environment))
    told = {each["name"]: each.get("value") for each in container["env"]}

    assert ["$$(HOME)", "$$$$", "a$$b"] == container["args"][-3:]
    assert "$$(HOME) $$$$ $$x" == told["GREETING"]


def test_secrets_are_in_their_secret_alone() -> None:
    wish = wish_for({"TOKEN": "hunter2"})
    manifest = made(secrets={"TOKEN": "hunter2"})
    told = {each["name"]: each for each in ranks_of(manifest)["env"]}

    assert "hunter2" not in json.dumps(manifest)
    assert {"name": manifest["metadata"]["name"], "key": "TOKEN"} == told["TOKEN"]["valueFrom"][
        "secretKeyRef"
    ]
    secret = secret_manifest(wish, OWNER)
    assert {"TOKEN": "hunter2"} == secret["stringData"]
    assert ["7"] == [each["uid"] for each in secret["metadata"]["ownerReferences"]]


def test_what_no_program_can_be_given_is_refused() -> None:
    with pytest.raises(InvalidInput, match="cannot start 'python3'"):
        made(arguments=["x" * (LONGEST_WORD + 1)])


@pytest.mark.parametrize("image", ["", "oci-archive:image.tar", "./box.sif"])
def test_an_image_that_no_node_can_have_is_refused(image: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        made(image=image)

    assert ["environment.docker"] == [each.where for each in caught.value.violations]


def test_the_image_of_the_settings_stands_in() -> None:
    assert "docker.io/library/alpine:3" == ranks_of(made(site(image="alpine:3"), image=""))["image"]


# Names


def test_names_follow_from_runs_and_fit_into_those_of_hosts() -> None:
    names = [job_name(each, 12) for each in (RUN, "A" * 64, "a" * 64, "AbC", "aBc")]

    assert len(names) == len(set(names))
    assert f"pollinator-{RUN}-12" == names[0]
    assert f"pollinator-{RUN}" == job_name(RUN, 1)
    assert all(len(f"{name}-999") <= 63 and name == name.lower() for name in names)


@pytest.mark.parametrize("text", ["a" * 64, "å", "-a", "a.", "a b"])
def test_what_a_label_cannot_hold_is_hashed(text: str) -> None:
    assert label_value(text) != label_value(f"{text}x")
    assert len(label_value(text)) <= 63
    assert "demo" == label_value("demo")


def test_an_object_of_somebody_else_is_not_ours() -> None:
    manifest = made()

    assert is_ours(manifest, "e1", RUN)
    assert not is_ours(manifest, "e2", RUN)
    assert not is_ours(manifest, "e1", f"{RUN}x")
    assert not is_ours({"metadata": {}}, "e1", RUN)
