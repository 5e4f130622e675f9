"""The configuration files of a private SLURM cluster. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

CORES_PER_NODE = 64
MEGABYTES_PER_NODE = 20_000

_CUSTOMS = (
    "JobAcctGatherType=jobacct_gather/linux",
    "JobAcctGatherFrequency=1",
    "SelectType=select/cons_tres",
    "SelectTypeParameters=CR_CPU_Memory",
    "DefMemPerCPU=100",
    # A node may claim more cores than this machine has.
    "SlurmdParameters=config_overrides",
    "MpiDefault=pmi2",
    "SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1",
    "ReturnToService=2",
    "SlurmctldTimeout=10",
    "SlurmdTimeout=5",
    "KillWait=2",
    # Accounting without a database: `sacct -c` reads this file.
    "JobCompType=jobcomp/filetxt",
    "AccountingStorageType=accounting_storage/none",
)
"""What is the same for every cluster: quick to schedule, quick to miss what is gone."""


def slurm_conf(
    folder: Path,
    *,
    host: str,
    ports: Sequence[int],
    nodes: Sequence[str],
    has_cgroups: bool,
    min_job_age_seconds: int,
) -> str:
    """The text of ``slurm.conf``.

    Args:
        folder: where everything of the cluster lies.
        host: this machine's short name.
        ports: the controller's, then one for each node.
        nodes: the nodes' names.
        has_cgroups: whether the kernel can hold jobs to their memory.
        min_job_age_seconds: how long squeue remembers a job that ended.
    """
    lines = [
        "ClusterName=lcls",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={ports[0]}",
        "SlurmUser=root",
        "SlurmdUser=root",
        "AuthType=auth/munge",
        f"AuthInfo=socket={folder}/munge/sock",
        "CredType=cred/munge",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/spool/%n",
        f"SlurmctldPidFile={folder}/run/slurmctld.pid",
        f"SlurmdPidFile={folder}/run/slurmd-%n.pid",
        f"SlurmctldLogFile={folder}/log/slurmctld.log",
        f"SlurmdLogFile={folder}/log/slurmd-%n.log",
        *_containment(has_cgroups=has_cgroups),
        *_CUSTOMS,
        f"MinJobAge={min_job_age_seconds}",
        f"JobCompLoc={folder}/log/jobcomp.log",
        *(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port}"
            f" CPUs={CORES_PER_NODE} RealMemory={MEGABYTES_PER_NODE} State=UNKNOWN"
            for node, port in zip(nodes, ports[1:], strict=True)
        ),
        f"PartitionName=milano Nodes={','.join(nodes)} Default=YES MaxTime=INFINITE State=UP",
        f"PartitionName=debug Nodes={nodes[0]} MaxTime=01:00:00 State=UP",
    ]
    return "\n".join(lines) + "\n"


def cgroup_conf(mount_point: Path) -> str:
    """The text of ``cgroup.conf``."""
    return (
        f"CgroupPlugin=cgroup/v1\nCgroupMountpoint={mount_point}\nCgroupAutomount=no\n"
        "ConstrainRAMSpace=yes\nConstrainCores=no\n"
    )


def _containment(*, has_cgroups: bool) -> list[str]:
    if has_cgroups:
        return ["ProctrackType=proctrack/cgroup", "TaskPlugin=task/cgroup"]
    return [
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherParams=OverMemoryKill",
    ]
