"""From a JobSpec to sbatch's command line, with an allow-list for what a user may add. Pure."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping

from airflow_provider_lclstream.psik.models import BackendConfig, JobSpec, ResourceSpec
from lclstreamer.core.errors import BadInputError

USER_OPTIONS = frozenset({
    "--begin", "--constraint", "--contiguous", "--core-spec", "--cores-per-socket", "--deadline",
    "--dependency", "--distribution", "--exclude", "--gpu-bind", "--gpu-freq", "--gpus",
    "--gpus-per-node", "--gpus-per-socket", "--gpus-per-task", "--gres", "--gres-flags", "--hint",
    "--licenses", "--mem-bind", "--mem-per-cpu", "--mem-per-gpu", "--network", "--nice",
    "--nodelist", "--ntasks-per-core", "--ntasks-per-gpu", "--ntasks-per-socket", "--priority",
    "--qos", "--signal", "--sockets-per-node", "--spread-job", "--switches", "--thread-spec",
    "--threads-per-core", "--time-min", "--tmp", "--use-min-nodes",
})  # fmt: skip
"""What a JobSpec's attributes may say: where and how, never what runs, as whom, or where its
output goes. A site narrows or widens it with the backend's attribute ``allowed``."""

NEVER = frozenset({
    "--account", "--array", "--batch", "--bb", "--bbf", "--bcast", "--chdir", "--comment",
    "--error", "--export", "--export-file", "--get-user-env", "--gid", "--input", "--job-name",
    "--open-mode", "--output", "--parsable", "--partition", "--propagate", "--requeue",
    "--reservation", "--uid", "--wait", "--wckey", "--wrap",
})  # fmt: skip
"""What even a site's ``allowed`` cannot open: it belongs to the backend, or would let a job escape
its folder, its user or its record."""

_VALUE = re.compile(r"[^\x00-\x1f\x7f]*")


def user_options(attributes: Mapping[str, str], allowed: Iterable[str]) -> list[str]:
    """Check a user's attributes and write them as single words ``--key=value``.

    Raises:
        BadInputError: one is not allowed here.
    """
    permitted, options = frozenset(allowed) - NEVER, list[str]()
    for key, value in attributes.items():
        name = key if key.startswith("--") else f"--{key.removeprefix('slurm.').replace('_', '-')}"
        if name not in permitted:
            close = difflib.get_close_matches(name, permitted, n=1, cutoff=0.7)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise BadInputError(
                f"the attribute {key!r} is not allowed on this backend",
                mend=f"{hint}remove it, or ask the site to allow it",
            )
        if not _VALUE.fullmatch(value):
            raise BadInputError(f"the attribute {key!r} has an unprintable value", mend="remove it")
        options.append(f"{name}={value}" if value else name)
    return options


def site_options(attributes: Mapping[str, str]) -> list[str]:
    """The options that a backend's configuration adds to every job, unchecked: it is the site's."""
    return [
        f"{key}={value}" if value else key
        for key, value in attributes.items()
        if key.startswith("--")
    ]


def resource_options(resources: ResourceSpec) -> list[str]:
    """What a job needs, in sbatch's words."""
    options = [f"--time={math.ceil(resources.duration)}"]
    counts = {
        "--nodes": resources.node_count,
        "--ntasks": resources.process_count,
        "--ntasks-per-node": resources.processes_per_node,
        "--cpus-per-task": resources.cpu_cores_per_process,
        "--gpus-per-task": resources.gpu_cores_per_process,
    }
    options += [f"{name}={count}" for name, count in counts.items() if count]
    if resources.memory is not None:
        options.append(f"--mem={math.ceil(resources.memory / 2**20)}M")
    if resources.exclusive_node_use:
        options.append("--exclusive")
    return options


def queue_options(config: BackendConfig) -> list[str]:
    """Partition, account and reservation, which belong to the backend."""
    places = {
        "--partition": config.queue_name,
        "--account": config.project_name,
        "--reservation": config.reservation_id,
    }
    return [f"{name}={value}" for name, value in places.items() if value]


def sbatch_options(
    spec: JobSpec, config: BackendConfig, allowed: Iterable[str], *, mark: str, console: str
) -> list[str]:
    """The whole command line after ``sbatch``, but for the script, which comes on its input.

    Args:
        spec: what to run.
        config: the backend.
        allowed: the options a user may name.
        mark: written as the job's comment, by which it is found again.
        console: where what the scheduler says of the job goes.
    """
    return [
        "--parsable",
        # A job that ran once is never run again behind our back.
        "--no-requeue",
        f"--job-name={spec.name or 'psik'}",
        f"--comment={mark}",
        f"--output={console.replace('%', '%%')}",
        "--open-mode=append",
        *resource_options(spec.resources),
        *queue_options(config),
        *site_options(config.attributes),
        *user_options(spec.attributes, allowed),
    ]
