"""Slurm's reasons whose names are not made of parts, in plain words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """A reason for people. ``{account}`` and ``{qos}`` stand for those of the run."""

    text: str
    """What is missing, and what it waits for."""
    action: str
    """What the user can do."""

    def of(self, *, account: str, qos: str) -> Words:
        """With the names of a run."""
        return Words(self.text.format(account=account, qos=qos), self.action.format(account=account, qos=qos))


_WAIT = "nothing has to be done"
_ADMINISTRATORS = "ask the administrators"
_ANOTHER_QOS = "use another QoS (slurm.qos)"
_SHORTER = "set a shorter conditions.walltime"
_CANCEL_YOURS = "wait until some of them end, or cancel runs that are not needed"

_QUEUE = {
    "None": Words("Slurm has not looked at it yet", _WAIT),
    "Priority": Words(
        "other jobs are ahead of it in this partition",
        f"{_WAIT}; a short run with a true conditions.walltime is fitted in earlier",
    ),
    "Resources": Words(
        "it is next, and waits until enough nodes are free",
        f"{_WAIT}; it starts earlier if it asks for less, or for a shorter conditions.walltime",
    ),
    "BeginTime": Words(
        "its earliest time to start is not yet there",
        "wait; a run that was put back into the queue may start again after some minutes",
    ),
    "Dependency": Words("it waits for another job to end, as it was told to", _WAIT),
    "DependencyNeverSatisfied": Words(
        "it waits for another job in a way that can never come about",
        "cancel it, and run it without --dependency",
    ),
    "JobArrayTaskLimit": Words(
        "as many tasks of its array run at a time as it allows", "wait until some end"
    ),
    "Licenses": Words("the licences that it asks for are in use", "wait until others give them back"),
    "SchedDefer": Words(
        "it wants to start at once, and this cluster starts jobs only in its own rounds",
        "submit it without --immediate",
    ),
    "Prolog": Words("its nodes are being made ready: the prolog still runs", "wait a moment"),
    "Cleaning": Words(
        "it was put back into the queue, and what it left is still being cleaned up", "wait a moment"
    ),
    "FedJobLock": Words("the clusters of the federation are agreeing on who takes it", "wait a moment"),
}
_HELD = {
    "JobHeldUser": Words(
        "it is held by you or by a coordinator of {account}",
        "release it: scontrol release and the id of the job",
    ),
    "JobHeldAdmin": Words("it is held by an administrator", f"{_ADMINISTRATORS} why"),
    "JobHoldMaxRequeue": Words(
        "it is held because it was put back into the queue too often",
        "see why it ended before, and cancel it or release it: scontrol release and the id of the job",
    ),
    "DeadLine": Words(
        "it cannot end before its deadline any more", f"cancel it, and {_SHORTER} or a later --deadline"
    ),
}
_NODES = {
    "ReqNodeNotAvail": Words(
        "a node that it needs cannot be used now: it is down, reserved for others or for maintenance",
        f"wait until it is back, or {_SHORTER} that ends before the maintenance begins",
    ),
    "NodeDown": Words("a node that it needs is down", f"wait until it is back, or {_ADMINISTRATORS}"),
    "FrontEndDown": Words("no front end that could start it is up", f"wait, or {_ADMINISTRATORS}"),
    "BadConstraints": Words(
        "no node of the cluster is as it asks for, and none will be",
        "cancel it, and ask for less or without slurm.constraint",
    ),
    "Constraints": Words(
        "no node that is as it asks for can be used now", "wait, or ask for less or without slurm.constraint"
    ),
    "MaxMemPerLimit": Words(
        "it asks for more memory on one node, or for one core, than the cluster allows",
        "cancel it, and ask for less conditions.mem, or for more conditions.cpu with it",
    ),
    "Reservation": Words(
        "its reservation has not begun, or is full", "wait until it begins, or run without slurm.reservation"
    ),
    "ReservationDeleted": Words(
        "its reservation is not there any more", "cancel it, and run without slurm.reservation"
    ),
    "MaxPoweredUpNodes": Words(
        "as many nodes are switched on as the cluster allows", "wait until some are free"
    ),
}
_PARTITION = {
    "PartitionConfig": Words(
        "it breaks some limit of its partition", "cancel it, and ask for less or take another slurm.partition"
    ),
    "PartitionDown": Words(
        "its partition is down: jobs are taken, and none is started",
        "wait until it is up, or take another slurm.partition",
    ),
    "PartitionInactive": Words(
        "its partition is switched off, and takes and starts no jobs", "take another slurm.partition"
    ),
    "PartitionNodeLimit": Words(
        "it asks for more nodes, or fewer, than its partition gives to one job or has in use",
        "cancel it, and change conditions.nodes or take another slurm.partition",
    ),
    "PartitionTimeLimit": Words(
        "its walltime is longer than its partition allows",
        f"it will not start as it is: cancel it, and {_SHORTER} or take another slurm.partition",
    ),
    "AccountNotAllowed": Words(
        "its partition does not admit {account}",
        "take another slurm.partition, or charge another slurm.account",
    ),
    "QOSNotAllowed": Words("neither {account} nor its partition admits {qos}", _ANOTHER_QOS),
}
_ACCOUNTS = {
    "AccountingPolicy": Words(
        "it breaks a rule of accounting that Slurm does not name", f"ask for less, or {_ADMINISTRATORS}"
    ),
    "InvalidAccount": Words(
        "{account} is not known to the cluster, or not yours", "charge another account (slurm.account)"
    ),
    "InvalidQOS": Words("{qos} is not known to the cluster, or not yours", _ANOTHER_QOS),
    "AssocGrpJobsLimit": Words(
        "as many jobs of {account} run as it may have at a time", "wait until some of them end"
    ),
    "AssocGrpSubmitJobsLimit": Words(
        "as many jobs of {account} run or wait as it may have at a time", "wait until some of them end"
    ),
    "AssocMaxJobsLimit": Words("as many of your jobs run as {account} allows each user", _CANCEL_YOURS),
    "AssocMaxSubmitJobLimit": Words(
        "as many of your jobs run or wait as {account} allows each user", _CANCEL_YOURS
    ),
    "AssocMaxWallDurationPerJobLimit": Words(
        "its walltime is longer than {account} allows one job", f"cancel it, and {_SHORTER}"
    ),
    "AssociationJobLimit": Words(
        "{account} has reached a limit of jobs", "wait until jobs of the account end"
    ),
    "AssociationResourceLimit": Words(
        "{account} has reached a limit of some resource",
        "wait until jobs of the account end, or ask for less",
    ),
    "AssociationTimeLimit": Words(
        "{account} has no time left",
        "ask whoever manages it for more, or charge another account (slurm.account)",
    ),
}
_QOS = {
    "QOSGrpJobsLimit": Words(
        "as many jobs run in {qos} as it may have at a time", f"wait until some end, or {_ANOTHER_QOS}"
    ),
    "QOSGrpSubmitJobsLimit": Words(
        "as many jobs run or wait in {qos} as it may have at a time",
        f"wait until some end, or {_ANOTHER_QOS}",
    ),
    "QOSMaxJobsPerUserLimit": Words("as many of your jobs run as {qos} allows each user", _CANCEL_YOURS),
    "QOSMaxSubmitJobPerUserLimit": Words(
        "as many of your jobs run or wait as {qos} allows each user", _CANCEL_YOURS
    ),
    "MaxJobsPerAccount": Words(
        "as many jobs of {account} run as {qos} allows each account", "wait until some of them end"
    ),
    "MaxSubmitJobsPerAccount": Words(
        "as many jobs of {account} run or wait as {qos} allows each account", "wait until some of them end"
    ),
    "QOSMaxWallDurationPerJobLimit": Words(
        "its walltime is longer than {qos} allows one job", f"cancel it, and {_SHORTER} or {_ANOTHER_QOS}"
    ),
    "QOSJobLimit": Words(
        "{qos} has reached a limit of jobs", f"wait until jobs in it end, or {_ANOTHER_QOS}"
    ),
    "QOSResourceLimit": Words(
        "{qos} has reached a limit of some resource",
        f"wait until jobs in it end, ask for less, or {_ANOTHER_QOS}",
    ),
    "QOSTimeLimit": Words("{qos} has no time left", _ANOTHER_QOS),
    "QOSUsageThreshold": Words(
        "{account} has used too little or too much of the cluster lately for {qos}",
        f"wait, or {_ANOTHER_QOS}",
    ),
}
_BURST_BUFFERS = {
    "BurstBufferOperation": Words("work on its burst buffer failed", f"{_ADMINISTRATORS}, or run without it"),
    "BurstBufferResources": Words(
        "the burst buffer has too little space free for it", "wait until others give some back"
    ),
    "BurstBufferStageIn": Words(
        "its files are being copied into the burst buffer", "wait until that is done"
    ),
}
_ENDS = {
    "InactiveLimit": Words(
        "it was ended because it did nothing for longer than the cluster allows", "run it again"
    ),
    "JobLaunchFailure": Words(
        "it could not be started: its program, its folder or the file system is not there on a node",
        f"run it again, or {_ADMINISTRATORS} if that happens again",
    ),
    "NonZeroExitCode": Words("it ended with an exit code other than 0", "see its output: pollinator logs"),
    "OutOfMemory": Words("it used more memory than it asked for", "ask for more conditions.mem"),
    "TimeLimit": Words("its time was over", "set a longer conditions.walltime"),
    "SystemFailure": Words(
        "Slurm itself, a file system or the network failed",
        f"run it again, or {_ADMINISTRATORS} if that happens again",
    ),
}

OTHERS: dict[str, Words] = {
    **_QUEUE,
    **_HELD,
    **_NODES,
    **_PARTITION,
    **_ACCOUNTS,
    **_QOS,
    **_BURST_BUFFERS,
    **_ENDS,
}
"""By Slurm's name. Some say why a job ended: it keeps them when it is put back into the queue."""
