"""Every error of this project: what is wrong, where, and what to do about it.

::

    LCLStreamError                 exit code
     ├─ UsageError                 64  the command line cannot be understood
     ├─ BadInputError              65  data that arrived cannot be used
     ├─ UnavailableError           69  a service, program or peer is not there   (transient)
     ├─ MissingDependencyError     69  an optional package or program is not installed
     ├─ InternalError              70  a fault of this project
     ├─ OutputError                73  a file or folder cannot be written
     ├─ IncompleteStreamError      74  messages were lost, and here is which
     ├─ TemporaryError             75  the same call may work later              (transient)
     ├─ PermissionDeniedError      77  not allowed
     └─ ConfigurationError         78  a configuration is wrong; carries every fault found

Exit codes are those of BSD ``sysexits.h``. ``transient`` says whether a retry can help: it decides
between a retry and a final failure wherever an error is handled (Airflow, the outbox, clients).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


class LCLStreamError(Exception):
    """The base of every error raised on purpose by this project.

    Attributes:
        problem: what is wrong, in one sentence, with the value that was received.
        mend: what the reader should do about it, in one sentence.
        where: a file position, URL, job id or other place, if there is one.
    """

    exit_code: ClassVar[int] = 70
    transient: ClassVar[bool] = False
    title: ClassVar[str] = "error"

    def __init__(self, problem: str, *, mend: str, where: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.mend = mend
        self.where = where

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.problem}. Mend: {self.mend}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders (multiprocessing, Airflow); keyword arguments must survive.
        return _rebuild, (type(self), dict(self.__dict__))

    def render(self) -> str:
        """The text for a terminal: the problem on one line, the mend on the next."""
        place = f"{self.where}: " if self.where else ""
        return f"{self.title}: {place}{self.problem}\n  mend: {self.mend}"

    def to_problem(self) -> dict[str, Any]:
        """The same facts as an RFC 9457 problem object, for ``--json`` and for HTTP replies."""
        problem: dict[str, Any] = {
            "type": f"urn:lclstream:problem:{type(self).__name__}",
            "title": self.title,
            "detail": self.problem,
            "mend": self.mend,
            "transient": self.transient,
            "exit_code": self.exit_code,
        }
        if self.where:
            problem["instance"] = self.where
        return problem


def _rebuild(kind: type[LCLStreamError], state: dict[str, Any]) -> LCLStreamError:
    error = kind.__new__(kind)
    Exception.__init__(error, state.get("problem", ""))
    error.__dict__.update(state)
    return error


class UsageError(LCLStreamError):
    """The command line cannot be understood."""

    exit_code, title = 64, "usage error"


class BadInputError(LCLStreamError):
    """Data that arrived (a file, a message, an event) cannot be used."""

    exit_code, title = 65, "bad input"


class UnavailableError(LCLStreamError):
    """A service, a program or a peer is not there, or not any more."""

    exit_code, title, transient = 69, "unavailable", True


class MissingDependencyError(LCLStreamError):
    """An optional package or program is not installed."""

    exit_code, title = 69, "missing dependency"


class InternalError(LCLStreamError):
    """A fault of this project, not of its user."""

    exit_code, title = 70, "internal error"


class OutputError(LCLStreamError):
    """A file or folder cannot be written."""

    exit_code, title = 73, "cannot write"


class IncompleteStreamError(LCLStreamError):
    """Messages were lost or cut short; the problem says how many and whose."""

    exit_code, title = 74, "incomplete stream"


class TemporaryError(LCLStreamError):
    """Something that may well work if it is tried again."""

    exit_code, title, transient = 75, "temporary failure", True


class PermissionDeniedError(LCLStreamError):
    """The caller is known but not allowed to do this."""

    exit_code, title = 77, "permission denied"


@dataclass(frozen=True)
class Fault:
    """One mistake in a configuration.

    Attributes:
        where: ``file:line:column``, or the file alone where the line is unknown.
        path: the dotted path of the key, e.g. ``data_sources.timestamp.type``.
        what: the mistake in words.
        suggestion: what was probably meant, or None.
        source: the line of the file the mistake stands on, with a caret below it, or None.
    """

    where: str
    path: str
    what: str
    suggestion: str | None = None
    source: str | None = None

    def __str__(self) -> str:
        hint = f" (did you mean {self.suggestion!r}?)" if self.suggestion else ""
        path = f"{self.path}: " if self.path else ""
        return f"{self.where}: {path}{self.what}{hint}"


class ConfigurationError(LCLStreamError):
    """A configuration is wrong. All of its faults are reported at once."""

    exit_code, title = 78, "configuration error"

    def __init__(
        self, problem: str, *, mend: str, where: str | None = None, faults: tuple[Fault, ...] = ()
    ) -> None:
        super().__init__(problem, mend=mend, where=where)
        self.faults = faults

    def render(self) -> str:
        """One line per fault, each with its position, then the mend."""
        if not self.faults:
            return super().render()
        lines = [f"{self.title}: {self.problem}"]
        for fault in self.faults:
            lines.append(str(fault))
            if fault.source:
                lines.append(fault.source)
        lines.append(f"  mend: {self.mend}")
        return "\n".join(lines)

    def to_problem(self) -> dict[str, Any]:
        """The RFC 9457 object with an ``errors`` list, one entry per fault."""
        errors = [
            {"where": f.where, "path": f.path, "what": f.what, "suggestion": f.suggestion}
            for f in self.faults
        ]
        return {**super().to_problem(), "errors": errors}
