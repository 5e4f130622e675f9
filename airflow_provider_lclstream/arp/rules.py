"""Which runs are streamed, and how: the rules file.

::

    version: 1
    max_age: 1h
    rules:
      - name: crystallography at MFX
        trigger: START_OF_RUN
        instruments: [MFX]
        request:
          ranks: 120
          streamer_backend: milano
          streamer:
            source_identifier: exp={experiment},run={run_number},dir=/data/{experiment}/xtc
            ...

The first rule that fits a run starts its one transfer. Every rule is tried on a made-up run when
the file is read, so a mistake in a template is found then and not at the beamline.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from airflow_provider_lclstream.elog.run_log import RunRecord
from airflow_provider_lclstream.transfer.models import TransferRequest
from lclstreamer.core.config_file import load_model, parse_model
from lclstreamer.core.errors import BadInputError
from lclstreamer.core.units import parse_duration
from lclstreamer.parameters.base import StrictModel

RULES_FILE_VARIABLE = "LCLSTREAM_RULES_FILE"

Trigger = Literal[
    "START_OF_RUN",
    "END_OF_RUN",
    "FIRST_FILE_TRANSFERRED",
    "ALL_FILES_TRANSFERRED",
    "RUN_PARAM_IS_VALUE",
    "MANUAL",
]
"""The logbook's own names for what starts a job."""

_PLACEHOLDER = re.compile(r"\{([A-Za-z_]+)(?::(0?[0-9]{1,2}d))?\}")


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration(value)
    except BadInputError as error:
        raise ValueError(f"{error.problem}; {error.mend}") from error


Duration = Annotated[float, BeforeValidator(_duration), Field(gt=0, le=366 * 86_400)]
Patterns = tuple[Annotated[str, Field(min_length=1, max_length=100)], ...]


class Rule(StrictModel):
    """One kind of run and the transfer it starts."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """For people: it stands in logs and in the transfer's labels."""

    trigger: Trigger = "START_OF_RUN"
    """What of the run starts the transfer."""

    experiments: Patterns = ("*",)
    """Names of experiments, with ``*`` and ``?``."""

    instruments: Patterns = ("*",)
    """Instruments, e.g. ``MFX``."""

    run_types: Patterns = ("*",)
    """Types of run, e.g. ``DATA``; those in `RuleBook.skip_run_types` never fit ``*``."""

    location: Annotated[str, Field(max_length=64)] = "S3DF"
    """Where files must have arrived, for the triggers about files."""

    run_param_name: str = ""
    run_param_value: str = ""
    """For RUN_PARAM_IS_VALUE: the parameter and the value it must have had, compared as text."""

    request: dict[str, Any]
    """A `TransferRequest` without experiment and run number. In texts ``{experiment}``,
    ``{run_number}``, ``{run_number:04d}``, ``{instrument}`` and ``{run_type}`` are filled in."""

    @model_validator(mode="after")
    def _can_be_filled(self) -> Rule:
        if self.trigger == "RUN_PARAM_IS_VALUE" and not self.run_param_name:
            raise ValueError("the trigger RUN_PARAM_IS_VALUE needs run_param_name")
        # Wherever the name pattern is a plain name it may stand in paths: try with a real one.
        sample = RunRecord("mfxx00126", 17, "MFX", oid="6b00afd2050858c8cd1fedca", run_type="DATA")
        try:
            self.transfer_request(sample)
        except ValidationError as error:
            raise ValueError(_in_words(error)) from error
        return self

    def fits(self, record: RunRecord, skip_run_types: Patterns = ()) -> bool:
        """Whether the run is of this rule's kind and far enough for its trigger."""
        return (
            record.is_known
            and _any_fits(self.experiments, record.experiment)
            and _any_fits(self.instruments, record.instrument)
            and self._type_fits(record.run_type, skip_run_types)
            and self._has_happened(record)
        )

    def transfer_request(self, record: RunRecord) -> TransferRequest:
        """The request for one run, from the rule's template.

        Raises:
            ValidationError: the filled template is no request.
        """
        facts: dict[str, str | int] = {
            "experiment": record.experiment,
            "run_number": record.run_number,
            "instrument": record.instrument,
            "run_type": record.run_type,
        }
        filled = fill_template(self.request, facts)
        labels = {"rule": self.name, **filled.get("labels", {})}
        return TransferRequest.model_validate(
            {
                **filled,
                "experiment": record.experiment,
                "run_number": record.run_number,
                "run_oid": record.oid,
                "labels": labels,
            }
        )

    def _type_fits(self, run_type: str, skip_run_types: Patterns) -> bool:
        if self.run_types == ("*",):
            return not _any_fits(skip_run_types, run_type)
        return _any_fits(self.run_types, run_type)

    def _has_happened(self, record: RunRecord) -> bool:
        happened = {
            "START_OF_RUN": True,
            "END_OF_RUN": record.is_closed,
            "FIRST_FILE_TRANSFERRED": record.first_file_at(self.location),
            "ALL_FILES_TRANSFERRED": record.all_files_at(self.location),
            "RUN_PARAM_IS_VALUE": (self.run_param_name, self.run_param_value) in record.params,
            "MANUAL": False,
        }
        return happened[self.trigger]


class RuleBook(StrictModel):
    """The rules file."""

    version: Literal[1] = 1

    max_age: Duration = 3600.0
    """A run that began longer ago is left alone (seconds, or e.g. ``1h``): a topic with unlimited
    retention, read from its beginning, must not start thousands of transfers."""

    skip_run_types: Patterns = ("DARK", "PEDESTAL*", "CALIB*", "RANDOM")
    """Types of run that are not streamed unless a rule names them."""

    rules: tuple[Rule, ...] = ()
    """Tried in order; the first that fits counts."""

    @property
    def watched_params(self) -> frozenset[str]:
        """The run parameters that some rule looks at."""
        return frozenset(rule.run_param_name for rule in self.rules if rule.run_param_name)

    def newly_fitting(self, before: RunRecord, after: RunRecord) -> Rule | None:
        """The first rule that fits now and did not before the last message."""
        return next(
            (
                rule
                for rule in self.rules
                if rule.fits(after, self.skip_run_types)
                and not rule.fits(before, self.skip_run_types)
            ),
            None,
        )

    def is_too_old(self, record: RunRecord, now: datetime | None = None) -> bool:
        """Whether the run began longer ago than `max_age`; one without a date is not."""
        if record.begin_time is None:
            return False
        age = (now or datetime.now(UTC)) - record.begin_time
        return age > timedelta(seconds=self.max_age)


def load_rules(path: Path | str) -> RuleBook:
    """Read the rules file.

    Raises:
        ConfigurationError: it cannot be read or has mistakes; lists every one, located.
    """
    return load_model(path, RuleBook)


def parse_rules(text: str, *, name: str = "<rules>") -> RuleBook:
    """The same for text in memory."""
    return parse_model(text, RuleBook, name=name)


def fill_template(value: Any, facts: Mapping[str, str | int]) -> Any:
    """The same structure with the placeholders in its texts filled in.

    Raises:
        ValueError: a placeholder has no such fact.
    """
    if isinstance(value, str):
        return _PLACEHOLDER.sub(lambda match: _fill(match, facts), value)
    if isinstance(value, dict):
        return {key: fill_template(inner, facts) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [fill_template(inner, facts) for inner in value]
    return value


def _fill(match: re.Match[str], facts: Mapping[str, str | int]) -> str:
    name, form = match[1], match[2] or ""
    if name not in facts:
        raise ValueError(f"unknown placeholder {{{name}}}: choose from {', '.join(facts)}")
    if form and not isinstance(facts[name], int):
        raise ValueError(f"{{{name}}} is text; {form!r} is a form for numbers")
    return format(facts[name], form)


def _any_fits(patterns: Patterns, word: str) -> bool:
    return any(fnmatchcase(word.upper(), pattern.upper()) for pattern in patterns)


def _in_words(error: ValidationError) -> str:
    mistakes = [
        f"{'.'.join(map(str, item['loc'])) or 'request'}: {item['msg']}"
        for item in error.errors(include_url=False, include_context=False)
    ]
    return "the request does not fit: " + "; ".join(mistakes)
