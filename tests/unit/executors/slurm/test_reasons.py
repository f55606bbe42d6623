"""Every reason that Slurm names is told in plain words of its own."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pollinator.executors.slurm.reasons import code, explain
from pollinator.executors.slurm.seen import BREAK, JobSeen, queue_rows
from pollinator.v1.spec_pb2 import Gpu, RunSpec, Slurm
from support.slurm_site import PROBE

NAMES = [
    "AccountingPolicy",
    "AccountNotAllowed",
    "AssocGrpBB",
    "AssocGrpBBMinutes",
    "AssocGrpBBRunMinutes",
    "AssocGrpBilling",
    "AssocGrpBillingMinutes",
    "AssocGrpBillingRunMinutes",
    "AssocGrpCpuLimit",
    "AssocGrpCPUMinutesLimit",
    "AssocGrpCPURunMinutesLimit",
    "AssocGrpEnergy",
    "AssocGrpEnergyMinutes",
    "AssocGrpEnergyRunMinutes",
    "AssocGrpGRES",
    "AssocGrpGRESMinutes",
    "AssocGrpGRESRunMinutes",
    "AssocGrpJobsLimit",
    "AssocGrpLicense",
    "AssocGrpLicenseMinutes",
    "AssocGrpLicenseRunMinutes",
    "AssocGrpMemLimit",
    "AssocGrpMemMinutes",
    "AssocGrpMemRunMinutes",
    "AssocGrpNodeLimit",
    "AssocGrpNodeMinutes",
    "AssocGrpNodeRunMinutes",
    "AssocGrpSubmitJobsLimit",
    "AssocGrpUnknown",
    "AssocGrpUnknownMinutes",
    "AssocGrpUnknownRunMinutes",
    "AssocGrpWallLimit",
    "AssocMaxBBMinutesPerJob",
    "AssocMaxBBPerJob",
    "AssocMaxBBPerNode",
    "AssocMaxBillingMinutesPerJob",
    "AssocMaxBillingPerJob",
    "AssocMaxBillingPerNode",
    "AssocMaxCpuMinutesPerJobLimit",
    "AssocMaxCpuPerJobLimit",
    "AssocMaxCpuPerNode",
    "AssocMaxEnergyMinutesPerJob",
    "AssocMaxEnergyPerJob",
    "AssocMaxEnergyPerNode",
    "AssocMaxGRESMinutesPerJob",
    "AssocMaxGRESPerJob",
    "AssocMaxGRESPerNode",
    "AssocMaxJobsLimit",
    "AssocMaxLicenseMinutesPerJob",
    "AssocMaxLicensePerJob",
    "AssocMaxMemMinutesPerJob",
    "AssocMaxMemPerJob",
    "AssocMaxMemPerNode",
    "AssocMaxNodeMinutesPerJob",
    "AssocMaxNodePerJobLimit",
    "AssocMaxSubmitJobLimit",
    "AssocMaxUnknownMinutesPerJob",
    "AssocMaxUnknownPerJob",
    "AssocMaxUnknownPerNode",
    "AssocMaxWallDurationPerJobLimit",
    "AssociationJobLimit",
    "AssociationResourceLimit",
    "AssociationTimeLimit",
    "BadConstraints",
    "BeginTime",
    "BurstBufferOperation",
    "BurstBufferResources",
    "BurstBufferStageIn",
    "Cleaning",
    "Constraints",
    "DeadLine",
    "Dependency",
    "DependencyNeverSatisfied",
    "FedJobLock",
    "InactiveLimit",
    "InvalidAccount",
    "InvalidQOS",
    "JobArrayTaskLimit",
    "JobHeldAdmin",
    "JobHeldUser",
    "JobHoldMaxRequeue",
    "JobLaunchFailure",
    "Licenses",
    "MaxBBPerAccount",
    "MaxBillingPerAccount",
    "MaxCpuPerAccount",
    "MaxEnergyPerAccount",
    "MaxGRESPerAccount",
    "MaxJobsPerAccount",
    "MaxLicensePerAccount",
    "MaxMemoryPerAccount",
    "MaxMemPerLimit",
    "MaxNodePerAccount",
    "MaxSubmitJobsPerAccount",
    "MaxUnknownPerAccount",
    "NodeDown",
    "NonZeroExitCode",
    "None",
    "OutOfMemory",
    "PartitionConfig",
    "PartitionDown",
    "PartitionInactive",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "Priority",
    "Prolog",
    "QOSGrpBB",
    "QOSGrpBBMinutes",
    "QOSGrpBBRunMinutes",
    "QOSGrpBilling",
    "QOSGrpBillingMinutes",
    "QOSGrpBillingRunMinutes",
    "QOSGrpCpuLimit",
    "QOSGrpCPUMinutesLimit",
    "QOSGrpCPURunMinutesLimit",
    "QOSGrpEnergy",
    "QOSGrpEnergyMinutes",
    "QOSGrpEnergyRunMinutes",
    "QOSGrpGRES",
    "QOSGrpGRESMinutes",
    "QOSGrpGRESRunMinutes",
    "QOSGrpJobsLimit",
    "QOSGrpLicense",
    "QOSGrpLicenseMinutes",
    "QOSGrpLicenseRunMinutes",
    "QOSGrpMemLimit",
    "QOSGrpMemoryMinutes",
    "QOSGrpMemoryRunMinutes",
    "QOSGrpNodeLimit",
    "QOSGrpNodeMinutes",
    "QOSGrpNodeRunMinutes",
    "QOSGrpSubmitJobsLimit",
    "QOSGrpUnknown",
    "QOSGrpUnknownMinutes",
    "QOSGrpUnknownRunMinutes",
    "QOSGrpWallLimit",
    "QOSJobLimit",
    "QOSMaxBBMinutesPerJob",
    "QOSMaxBBPerJob",
    "QOSMaxBBPerNode",
    "QOSMaxBBPerUser",
    "QOSMaxBillingMinutesPerJob",
    "QOSMaxBillingPerJob",
    "QOSMaxBillingPerNode",
    "QOSMaxBillingPerUser",
    "QOSMaxCpuMinutesPerJobLimit",
    "QOSMaxCpuPerJobLimit",
    "QOSMaxCpuPerNode",
    "QOSMaxCpuPerUserLimit",
    "QOSMaxEnergyMinutesPerJob",
    "QOSMaxEnergyPerJob",
    "QOSMaxEnergyPerNode",
    "QOSMaxEnergyPerUser",
    "QOSMaxGRESMinutesPerJob",
    "QOSMaxGRESPerJob",
    "QOSMaxGRESPerNode",
    "QOSMaxGRESPerUser",
    "QOSMaxJobsPerUserLimit",
    "QOSMaxLicenseMinutesPerJob",
    "QOSMaxLicensePerJob",
    "QOSMaxLicensePerUser",
    "QOSMaxMemoryMinutesPerJob",
    "QOSMaxMemoryPerJob",
    "QOSMaxMemoryPerNode",
    "QOSMaxMemoryPerUser",
    "QOSMaxNodeMinutesPerJob",
    "QOSMaxNodePerJobLimit",
    "QOSMaxNodePerUserLimit",
    "QOSMaxSubmitJobPerUserLimit",
    "QOSMaxUnknownMinutesPerJob",
    "QOSMaxUnknownPerJob",
    "QOSMaxUnknownPerNode",
    "QOSMaxUnknownPerUser",
    "QOSMaxWallDurationPerJobLimit",
    "QOSMinBB",
    "QOSMinBilling",
    "QOSMinCpuNotSatisfied",
    "QOSMinEnergy",
    "QOSMinGRES",
    "QOSMinLicense",
    "QOSMinMemory",
    "QOSMinNode",
    "QOSMinUnknown",
    "QOSNotAllowed",
    "QOSResourceLimit",
    "QOSTimeLimit",
    "QOSUsageThreshold",
    "ReqNodeNotAvail",
    "Reservation",
    "ReservationDeleted",
    "Resources",
    "SchedDefer",
    "SystemFailure",
    "TimeLimit",
]
"""All that Slurm's documentation names, as of 25.05."""

SPEC = RunSpec(
    nodes=2,
    processes_per_node=1,
    cpu_millis=4000,
    memory_bytes=8 << 30,
    walltime_ms=7_200_000,
    gpu=Gpu(count=1, name="a100"),
)


def waiting(reason: str, detail: str = "", estimate: datetime | None = None) -> JobSeen:
    return JobSeen("1", 0.0, state="PENDING", reason=reason, detail=detail, estimate=estimate)


def test_there_are_as_many_names_as_slurm_documents() -> None:
    assert 194 == len(set(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_a_reason_has_words_of_its_own_and_says_what_to_do(name: str) -> None:
    pending = explain(waiting(name), RunSpec(nodes=1))

    assert "not known here" not in pending.text
    assert name not in pending.text
    assert len(pending.text) > 10
    # What passes in a moment asks for nothing.
    assert pending.action


def test_no_two_reasons_are_told_in_the_same_words() -> None:
    texts = {name: explain(waiting(name), RunSpec(nodes=1)).text for name in NAMES}

    assert [] == [name for name in texts if list(texts.values()).count(texts[name]) > 1]


def test_no_two_reasons_have_the_same_code() -> None:
    assert len(NAMES) == len({code(name) for name in NAMES})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Resources", "resources"),
        ("AssocGrpCpuLimit", "assoc_grp_cpu_limit"),
        ("QOSGrpCPUMinutesLimit", "qos_grp_cpu_minutes_limit"),
        ("ReqNodeNotAvail", "req_node_not_avail"),
        ("QOSMinGRES", "qos_min_gres"),
        ("", "slurm"),
        ("None", "submitted"),
    ],
)
def test_a_code_is_slurms_name_in_small_letters(name: str, expected: str) -> None:
    assert expected == code(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("AssocGrpCpuLimit", ["running jobs of your account", "all of its cores", "it asks for 8 cores"]),
        ("AssocGrpCPUMinutesLimit", ["the budget of your account is used up", "core minutes"]),
        ("AssocGrpCPURunMinutesLimit", ["running jobs of your account", "core minutes"]),
        ("QOSGrpMemLimit", ["the QoS of this run", "memory", "it asks for 16 GiB"]),
        ("QOSMaxGRESPerUser", ["one user", "GPUs", "it asks for 1 x a100 on each of 2 nodes"]),
        ("QOSMaxNodePerJobLimit", ["allows for one job", "nodes", "it asks for 2 nodes"]),
        ("AssocMaxCpuPerNode", ["allows for one node of a job", "cores"]),
        ("MaxCpuPerAccount", ["all users of one account", "cores"]),
        ("QOSMinGRES", ["asks for less", "GPUs"]),
        ("AssocGrpWallLimit", ["walltime", "it asks for 2 h"]),
        ("Resources", ["next", "it asks for 2 nodes with 4 cores, 8 GiB, 1 x a100 each for 2 h"]),
    ],
)
def test_a_reason_keeps_its_sense_and_has_the_numbers_of_the_run(name: str, words: list[str]) -> None:
    text = explain(waiting(name), SPEC).text

    assert [] == [each for each in words if each not in text]


def test_a_reason_names_account_and_qos_of_the_run() -> None:
    spec = RunSpec(nodes=1, slurm=Slurm(account="proj", qos="high"))

    assert "account proj" in explain(waiting("AssocGrpNodeLimit"), spec).text
    assert "QoS high" in explain(waiting("QOSGrpNodeLimit"), spec).text
    assert "its partition does not admit account proj" == explain(waiting("AccountNotAllowed"), spec).text


def test_limits_of_the_partition_are_told_where_they_are_known() -> None:
    text = explain(waiting("PartitionTimeLimit"), SPEC, PROBE, "short").text

    assert "its walltime is longer than its partition allows" in text
    assert "for 2 h; short allows 30 min, 1 node, 2 cores and 1.46 GiB each" in text


def test_what_slurm_adds_is_passed_on() -> None:
    text = explain(waiting("ReqNodeNotAvail", "UnavailableNodes:n3"), RunSpec(nodes=1)).text

    assert text.endswith("; Slurm adds: UnavailableNodes:n3")


def test_an_estimate_is_passed_on() -> None:
    estimate = datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC)

    assert estimate == explain(waiting("Priority", "", estimate), SPEC).eta.ToDatetime(UTC)
    assert not explain(waiting("Priority"), SPEC).HasField("eta")


def test_a_name_that_is_not_known_is_shown_as_it_is() -> None:
    pending = explain(waiting("NoMoonlight"), SPEC)

    assert ("no_moonlight", "Slurm says NoMoonlight, which is not known here") == (pending.code, pending.text)
    assert pending.action


def test_a_sentence_instead_of_a_name_is_shown_as_it_is() -> None:
    fields = ["7", "7", "PENDING", "launch failed requeued held", "", "0", "1", "N/A", "N/A", ""]

    seen = queue_rows(BREAK.join(fields), 0.0)["7"]

    assert "Slurm says: launch failed requeued held" == explain(seen, SPEC).text
