"""Configuration files of a Slurm cluster of one machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CPUS = 4
MEMORY_MB = 2000
GPUS = 2
"""Of each node; the machine need not have them."""

PARTITIONS = (
    "PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
    "PartitionName=short Nodes=ALL MaxTime=30 MaxNodes=2 State=UP",
)

_CONFIG = """\
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is put back into the queue waits for so many seconds.
AuthInfo=socket={folder}/run/munge.sock,cred_expire=8
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
ProctrackType=proctrack/{tracking}
TaskPlugin=task/{tasks}
JobAcctGatherType=jobacct_gather/{measuring}
JobAcctGatherFrequency=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Without it a job that names no memory takes all of the node's.
DefMemPerCPU=200
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0,sched_min_interval=0
# A node that was down comes back when its slurmd does.
ReturnToService=2
MpiDefault=none
SwitchType=switch/none
JobCompType=jobcomp/none
GresTypes=gpu
MinJobAge=300
KillWait={kill_wait_s}
SlurmctldTimeout=30
SlurmdTimeout={node_timeout_s}
MessageTimeout=5
JobRequeue=1
# Nodes claim what the machine may not have.
SlurmdParameters=config_overrides
# Loopback only.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
"""

_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/run/munge.sock
AccountingStorageEnforce=associations,limits,qos
"""

_DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={folder}/run/munge.sock
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
PidFile={folder}/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={sql}
StorageUser=slurm
StoragePass={password}
StorageLoc=slurm_acct_db
"""

_GROUPS = """\
CgroupPlugin=cgroup/v1
CgroupAutomount=no
CgroupMountpoint=/sys/fs/cgroup
ConstrainRAMSpace=yes
ConstrainCores=no
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a test may want to be different."""

    accounting: bool = False
    """With slurmdbd and its database. Accounts, limits and qualities of service are enforced then."""
    cgroup: bool = False
    """Memory of jobs is held by the kernel, and their processes are tracked in control groups."""
    nodes: Sequence[str] = ("n1", "n2", "n3")
    """Rigs with control groups need names that no other rig on the machine has at the same time."""
    partitions: Sequence[str] = PARTITIONS
    kill_wait_s: int = 2
    """From the first signal to SIGKILL, when Slurm ends a job."""
    node_timeout_s: int = 30
    """A node that says nothing for so long is down."""
    extra: Sequence[str] = ()
    """Further lines of slurm.conf."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Where they listen, all on loopback."""

    controller: int
    nodes: Sequence[int]
    accounting: int
    sql: int


def write_files(folder: Path, options: Options, ports: Ports, password: str) -> None:
    """Write all of them; ``folder`` is theirs."""
    lines = [
        _CONFIG.format(
            folder=folder,
            controller=ports.controller,
            tracking="cgroup" if options.cgroup else "linuxproc",
            tasks="cgroup" if options.cgroup else "none",
            measuring="cgroup" if options.cgroup else "linux",
            kill_wait_s=options.kill_wait_s,
            node_timeout_s=options.node_timeout_s,
        )
    ]
    if options.accounting:
        lines.append(_ACCOUNTING.format(folder=folder, port=ports.accounting))
        text = _DATABASE.format(folder=folder, port=ports.accounting, sql=ports.sql, password=password)
        database = folder / "slurmdbd.conf"
        database.touch(mode=0o600)
        database.write_text(text)
    else:
        lines.append("AccountingStorageType=accounting_storage/none")
    for name, port in zip(options.nodes, ports.nodes, strict=True):
        lines.append(
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={CPUS} "
            f"RealMemory={MEMORY_MB} Gres=gpu:fake:{GPUS} State=UNKNOWN"
        )
    (folder / "slurm.conf").write_text("\n".join([*lines, *options.partitions, *options.extra, ""]))
    # GPUs need device files, or they are dropped without a word.
    devices = f"{folder}/dev/gpu[0-{GPUS - 1}]"
    (folder / "gres.conf").write_text(f"AutoDetect=off\nName=gpu Type=fake File={devices}\n")
    (folder / "cgroup.conf").write_text(_GROUPS)
