"""A cluster that is only told of: scripts in place of Slurm's programs, and what the probe makes of them.

For what a real one on this machine cannot be: GPUs of several models, other versions, answers that are lost.
"""

from __future__ import annotations

import os
from pathlib import Path

from pollinator.executors.slurm.commands import Commands
from pollinator.executors.slurm.probe import Nodes, Partition, Probe

_REST = (
    "AllowGroups=ALL AllocNodes=ALL QoS=N/A DisableRootJobs=NO ExclusiveUser=NO GraceTime=0 Hidden=NO LLN=NO "
    "MaxCPUsPerNode=UNLIMITED PriorityJobFactor=1 PriorityTier=1 OverSubscribe=NO OverTimeLimit=NONE "
    "PreemptMode=OFF SelectTypeParameters=NONE JobDefaults=(null) DefMemPerNode=UNLIMITED"
)
PARTITIONS = f"""\
PartitionName=short {_REST} AllowAccounts=ALL AllowQos=ALL Default=NO DefaultTime=00:05:00 MaxNodes=1 \
MaxTime=00:30:00 MinNodes=0 Nodes=n[1-2] RootOnly=NO ReqResv=NO State=UP TotalNodes=2 MaxMemPerNode=1500
PartitionName=debug {_REST} AllowAccounts=ALL AllowQos=ALL Default=YES DefaultTime=NONE MaxNodes=UNLIMITED \
MaxTime=UNLIMITED MinNodes=0 Nodes=n[1-5] RootOnly=NO ReqResv=NO State=UP TotalNodes=5 MaxMemPerNode=UNLIMITED
PartitionName=dead {_REST} AllowAccounts=other,proj AllowQos=high Default=NO DefaultTime=NONE \
MaxNodes=UNLIMITED MaxTime=2-00:00:00 MinNodes=1 Nodes=n3 RootOnly=NO ReqResv=YES State=DOWN TotalNodes=1
"""
NODES = """\
short|2|2|2000|gpu:fake:2
debug|2|2|2000|gpu:fake:2
debug|2|2|2000|(null)
debug|1|64+|2000|gpu:a100:4(S:0-1)
dead|1|2|2000|gpu:fake:2
"""
CONFIG = """\
Configuration data as of 2026-01-31T10:00:00
AccountingStorageEnforce = associations,limits,qos
JobSubmitPlugins        = (null)
"""
_FAKE = {"fake": 2}
_MIB = 1 << 20
_USUAL = Partition(
    name="debug",
    default=True,
    up=True,
    max_walltime_s=0,
    default_walltime_s=0,
    min_nodes=0,
    max_nodes=0,
    max_memory_bytes=0,
    accounts=(),
    qos=(),
    reserved=False,
    kinds=(
        Nodes(2, 2, 2000 * _MIB, _FAKE),
        Nodes(2, 2, 2000 * _MIB, {}),
        Nodes(1, 64, 2000 * _MIB, {"a100": 4}),
    ),
)
PROBE = Probe(
    asked_at=1_764_000_000.0,
    version="22.05.8",
    partitions=(
        _USUAL,
        Partition(
            name="short",
            default=False,
            up=True,
            max_walltime_s=1800,
            default_walltime_s=300,
            min_nodes=0,
            max_nodes=1,
            max_memory_bytes=1500 * _MIB,
            accounts=(),
            qos=(),
            reserved=False,
            kinds=(Nodes(2, 2, 2000 * _MIB, _FAKE),),
        ),
        Partition(
            name="dead",
            default=False,
            up=False,
            max_walltime_s=172_800,
            default_walltime_s=0,
            min_nodes=1,
            max_nodes=0,
            max_memory_bytes=0,
            accounts=("other", "proj"),
            qos=("high",),
            reserved=True,
            kinds=(Nodes(1, 2, 2000 * _MIB, _FAKE),),
        ),
    ),
    accounts=("proj", "root"),
    qos=("high", "normal"),
    accounting=True,
    json=True,
    names={
        "partition": ("short", "debug", "dead"),
        "account": ("proj", "root"),
        "qos": ("high", "normal", "urgent"),
    },
)
"""What `site` tells of itself."""


def site(folder: Path, **scripts: str) -> Commands:
    """Programs that answer as Slurm's do; scripts by name replace them."""
    answers = {
        "scontrol": (
            f"case \"$*\" in *config) cat <<'END'\n{CONFIG}END\n;; *) cat <<'END'\n{PARTITIONS}END\n;; esac"
        ),
        "sinfo": (
            'case "$*" in --version) echo "slurm-wlm 22.05.8";; --help) echo " --json";; '
            f"*) cat <<'END'\n{NODES}END\n;; esac"
        ),
        "sacctmgr": (
            "case \"$*\" in *qos\\ format*) printf 'high\\nnormal\\nurgent\\n';; "
            "*) printf 'proj|normal,high\\nroot|normal\\n';; esac"
        ),
        "sacct": "true",
    }
    return programs(folder, **answers | scripts)


def programs(folder: Path, **scripts: str) -> Commands:
    """Programs of these names, in place of Slurm's."""
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return Commands(os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"})
