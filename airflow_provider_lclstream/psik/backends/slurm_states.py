"""What each of SLURM's job states means for a job. Pure.

SLURM 22 to 25 know these states; a flag such as COMPLETING is shown in place of the state it
covers. One that is not in the table counts as active: it is no end, so the job is asked for again.
"""

from __future__ import annotations

from airflow_provider_lclstream.psik.states import JobState

_Q, _A, _F = JobState.queued, JobState.active, JobState.failed

SLURM_STATES: dict[str, tuple[JobState, str]] = {
    "PENDING": (_Q, "waiting"),
    "CONFIGURING": (_Q, "its nodes are being prepared"),
    "REQUEUED": (_Q, "requeued"),
    "REQUEUE_FED": (_Q, "requeued by the federation"),
    "REQUEUE_HOLD": (_Q, "requeued and held"),
    "RESV_DEL_HOLD": (_Q, "held: its reservation was deleted"),
    "SPECIAL_EXIT": (_Q, "requeued and held: special exit code"),
    "RUNNING": (_A, "running"),
    "COMPLETING": (_A, "its processes are ending"),
    "RESIZING": (_A, "it is being resized"),
    "SIGNALING": (_A, "it is being signaled"),
    "STAGE_OUT": (_A, "its files are being staged out"),
    "STOPPED": (_A, "stopped, keeping its cores"),
    "SUSPENDED": (_A, "suspended, its cores released"),
    "COMPLETED": (JobState.completed, "exit code 0"),
    "CANCELLED": (JobState.canceled, "canceled"),
    "BOOT_FAIL": (_F, "its nodes could not boot"),
    "DEADLINE": (_F, "its deadline passed"),
    "FAILED": (_F, "it failed"),
    "LAUNCH_FAILED": (_F, "its nodes could not start it"),
    "NODE_FAIL": (_F, "a node failed"),
    "OUT_OF_MEMORY": (_F, "out of memory"),
    "POWER_UP_NODE": (_Q, "its nodes are being powered up"),
    "PREEMPTED": (_F, "preempted by another job"),
    "RECONFIG_FAIL": (_F, "its nodes could not be configured"),
    "REVOKED": (_F, "revoked: taken by another cluster"),
    "TIMEOUT": (_F, "time limit reached"),
    "UPDATE_DB": (_A, "its record is being updated"),
    "EXPEDITING": (_Q, "requeued, expedited"),
}
"""SLURM's name → (ours, in words)."""

ABBREVIATIONS = {
    "PD": "PENDING", "CF": "CONFIGURING", "RQ": "REQUEUED", "RF": "REQUEUE_FED",
    "RH": "REQUEUE_HOLD", "RD": "RESV_DEL_HOLD", "SE": "SPECIAL_EXIT", "R": "RUNNING",
    "CG": "COMPLETING", "RS": "RESIZING", "SI": "SIGNALING", "SO": "STAGE_OUT", "ST": "STOPPED",
    "S": "SUSPENDED", "CD": "COMPLETED", "CA": "CANCELLED", "BF": "BOOT_FAIL", "DL": "DEADLINE",
    "F": "FAILED", "NF": "NODE_FAIL", "OOM": "OUT_OF_MEMORY", "PR": "PREEMPTED", "RV": "REVOKED",
    "TO": "TIMEOUT",
}  # fmt: skip
"""SLURM's short names."""


def translate(text: str, reason: str = "") -> tuple[JobState, str]:
    """Our state and its reason, for a state as squeue, sacct or a REST service writes it.

    ``CANCELLED by 1000`` and ``NODE_FAIL+`` are understood; SLURM's own reason follows in
    parentheses where it says more.
    """
    words = text.strip().split()
    name = words[0].rstrip("+").upper() if words else ""
    name = ABBREVIATIONS.get(name, name)
    state, meaning = SLURM_STATES.get(name, (JobState.active, "in an unknown state"))
    if name == "CANCELLED" and len(words) >= 3:
        meaning = f"canceled by uid {words[2].rstrip('+')}"
    detail = "" if reason in {"", "None", "NonZeroExitCode"} else f", {reason}"
    return state, meaning if state is JobState.completed else f"{meaning} (SLURM {name}{detail})"
