"""Which of how many ranks this process is, and how it hangs together with the others.

Most event sources need a number only: which share of the events is mine. They take it from what
the launcher (mpirun, srun) writes into the environment and never start MPI, so that a rank that
dies leaves the others alone. psana 2 needs a communicator: its ranks depend on each other, and
one that dies ends them all.

What the launchers do when a rank dies (measured with MPICH 5.0):

- MPICH's ``mpirun`` kills every rank on the node as soon as one of its direct children dies of a
  signal; ``-disable-auto-cleanup`` does not change that. A rank that *exits*, with whatever code,
  leaves the others alone. Therefore a rank without a communicator runs in a child of the process
  that mpirun started (`guard_rank`), and that process exits with 128 + signal in its place.
- Open MPI's ``mpirun`` ends the job at the first exit code other than 0; give it
  ``--mca orte_abort_on_non_zero_status 0``.
- SLURM's ``srun`` leaves the others alone (``--kill-on-bad-exit=0`` says so explicitly).
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lclstreamer.core.errors import ConfigurationError, MissingDependencyError
from lclstreamer.core.output import note

LAUNCHER_VARIABLES = (
    ("PMI_RANK", "PMI_SIZE", None),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", None),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE", None),
    # A batch script has SLURM_PROCID too; only srun's tasks have a step and its size.
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_ID"),
)
"""Rank, size and, where it matters, a variable that must be there too; in order of precedence."""

_WATCHER_VARIABLES = ("HYDI_CONTROL_FD", "PMI_FD", "PMI_PORT")
"""Told to its ranks by a launcher that ends them all when one dies of a signal."""

_LAUNCHER_PREFIXES = ("PMI_", "PMIX_", "HYDI_", "OMPI_", "MV2_COMM_WORLD_", "MPI_LOCAL")


@dataclass(frozen=True)
class RankContext:
    """This process among its ranks.

    Attributes:
        rank: 0 … size - 1.
        size: how many ranks there are.
        found_by: what told it: ``PMI_RANK`` and its like, ``mpi4py``, or ``alone``.
        communicator: mpi4py's ``COMM_WORLD`` where the event source needs one, else None.
    """

    rank: int = 0
    size: int = 1
    found_by: str = "alone"
    communicator: Any = None

    def share(self, count: int) -> range:
        """The numbers out of ``range(count)`` that are this rank's, dealt in turn."""
        return range(self.rank, count, self.size)

    def block(self, count: int) -> range:
        """The numbers out of ``range(count)`` that are this rank's, as one block."""
        return range(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def leave(self) -> None:
        """Wait until every rank has come here; then each may end without disturbing another."""
        if self.communicator is None:
            return
        self.communicator.Barrier()
        # Every rank that wants an early end tells rank 0, which reads only the first of these
        # messages. MPI does not end while one is unread.
        unread = bytearray(64)
        while self.rank == 0 and self.communicator.Iprobe():
            self.communicator.Recv(unread)


def find_rank(
    *, needs_communicator: bool = False, environment: Mapping[str, str] = os.environ
) -> RankContext:
    """Find out which rank this process is.

    Args:
        needs_communicator: start MPI, where a launcher started more than one rank.
        environment: the environment variables to read.

    Raises:
        ConfigurationError: what the launcher says makes no sense.
        MissingDependencyError: a communicator is needed and MPI does not start.
    """
    context = _launched_rank(environment)
    if not needs_communicator or context.size == 1:
        return context
    world = _start_mpi()
    if world.Get_size() != context.size:
        raise ConfigurationError(
            f"{context.found_by} says {context.size} ranks but MPI sees {world.Get_size()}",
            mend="start it with the mpirun of the MPI that mpi4py uses: the one beside its python",
        )
    return RankContext(world.Get_rank(), world.Get_size(), "mpi4py", world)


def _launched_rank(environment: Mapping[str, str]) -> RankContext:
    for rank_name, size_name, needed in LAUNCHER_VARIABLES:
        if rank_name not in environment or size_name not in environment:
            continue
        if needed is not None and needed not in environment:
            continue
        given = (environment[rank_name], environment[size_name])
        if not all(text.isdecimal() for text in given) or not int(given[0]) < int(given[1]):
            raise ConfigurationError(
                f"{rank_name}={given[0]} with {size_name}={given[1]} is no rank",
                mend="start the program with mpirun or srun, or without these variables",
            )
        return RankContext(int(given[0]), int(given[1]), rank_name)
    return RankContext()


def _start_mpi() -> Any:
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py is there, its MPI is not
        raise MissingDependencyError(
            f"MPI cannot be used: {error}",
            mend="install the extra 'streamer' (mpi4py and mpich) into this environment",
        ) from error
    return MPI.COMM_WORLD


def leave_launcher() -> None:
    """Forget the launcher, so that a library that starts MPI on its own finds itself alone.

    psana starts MPI whenever it is imported. In a rank that shares nothing with the others this
    must not tie it to them.
    """
    for name in [name for name in os.environ if name.startswith(_LAUNCHER_PREFIXES)]:
        del os.environ[name]


def guard_rank(context: RankContext) -> int | None:
    """Split a rank in two, where its launcher would make others suffer for its death.

    Returns:
        In the child, which does the rank's work: None. In the parent, after the child has ended:
        its exit code, 128 + signal where a signal ended it. Without need, None and no child.
    """
    is_watched = any(name in os.environ for name in _WATCHER_VARIABLES)
    if context.communicator is not None or context.size == 1 or not is_watched:
        return None
    # A signal that comes between fork and handler would end the parent alone: it has to wait.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    child = os.fork()
    if child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, _frame: _forward(child, number))
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if child == 0:
        return None
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        note(f"rank {context.rank} of {context.size} (process {child}) died of signal {-code}")
        return 128 - code
    return code


def _forward(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may have ended already
        os.kill(child, number)
