"""From a message of the logbook to a transfer's DAG run, safely repeatable.

The caller commits a message's Kafka offset only after `RunEventDispatcher.handle` returned. Then
nothing is lost: whatever fails before is delivered again, and a DAG run that was already created
answers "exists". What is known of a run is remembered only after its DAG run was created, for the
same reason.

Two programs host this code: `lclstream arp serve` and the trigger inside Airflow's triggerer.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from airflow_provider_lclstream.arp.rules import Rule, RuleBook
from airflow_provider_lclstream.elog.models import RunEvent, read_message, run_event_of
from airflow_provider_lclstream.elog.run_log import RunLog, RunRecord
from airflow_provider_lclstream.transfer.models import dag_run_id
from lclstreamer.core.errors import BadInputError, LCLStreamError, TemporaryError

logger = logging.getLogger(__name__)

TRANSFER_DAG_ID = "lclstream_transfer"


class DagRunStarter(Protocol):
    """Whatever creates DAG runs; `AirflowClient` does."""

    async def start_dag_run(
        self, dag_id: str, dag_run_id: str, conf: Mapping[str, Any], *, note: str = ""
    ) -> Literal["created", "exists"]:
        """Create a DAG run, or find that it exists."""
        ...


@dataclass(frozen=True)
class DispatchOutcome:
    """What became of one message.

    Attributes:
        kind: ``started`` (a new DAG run), ``exists`` (it was there), ``ignored`` (nothing to do).
        reason: why, in words.
        dag_run_id: the transfer's DAG run, or empty.
        event: what the message means, or None where it is not about runs.
    """

    kind: Literal["started", "exists", "ignored"]
    reason: str
    dag_run_id: str = ""
    event: RunEvent | None = None

    @property
    def is_transfer(self) -> bool:
        """Whether there is a transfer for it now."""
        return self.kind != "ignored"


class RunEventDispatcher:
    """Starts one transfer per run that a rule fits.

    Args:
        rules: what is streamed.
        airflow: creates the DAG runs.
        run_log: what is known of runs; a new one where not given.
        attempts: how often a request to Airflow is tried while its failure is transient.
        retry_seconds: the first pause between them; it doubles up to 10 s.
        dry_run: say what would be started and start nothing.
    """

    def __init__(
        self,
        rules: RuleBook,
        airflow: DagRunStarter,
        *,
        run_log: RunLog | None = None,
        dag_id: str = TRANSFER_DAG_ID,
        attempts: int = 8,
        retry_seconds: float = 0.25,
        dry_run: bool = False,
    ) -> None:
        self._rules = rules
        self._airflow = airflow
        self._log = run_log or RunLog(watched_params=rules.watched_params)
        self._dag_id = dag_id
        self._attempts = attempts
        self._retry_seconds = retry_seconds
        self._dry_run = dry_run
        self.counts: Counter[str] = Counter()
        """Outcomes so far, by kind."""

    async def handle(self, raw: bytes | str, *, now: datetime | None = None) -> DispatchOutcome:
        """Do what one Kafka message asks for; afterwards it may be committed.

        Raises:
            MalformedMessageError: it can never be used: keep it elsewhere and commit.
            LCLStreamError: Airflow did not take the run. Where it is transient the message must
                not be committed; it will come again.
        """
        event = read_message(raw)
        if event is None:
            return self._counted(DispatchOutcome("ignored", "not about runs"))
        return await self.handle_event(event, now=now)

    async def handle_document(
        self, experiment: str, document: Mapping[str, Any], *, now: datetime | None = None
    ) -> DispatchOutcome:
        """The same for a run document from the Elog's REST interface (the sweep)."""
        return await self.handle_event(run_event_of(experiment, document), now=now)

    async def handle_event(
        self, event: RunEvent, *, now: datetime | None = None
    ) -> DispatchOutcome:
        """The same for a message that has been read already."""
        if not event.run_number:
            self._log.switch(event)
            return self._counted(DispatchOutcome("ignored", f"{event.kind}", event=event))
        before, after = self._log.preview(event)
        outcome = await self._dispatch(event, before, after, now)
        self._log.accept(after)
        return self._counted(outcome)

    async def _dispatch(
        self, event: RunEvent, before: RunRecord, after: RunRecord, now: datetime | None
    ) -> DispatchOutcome:
        rule = self._rules.newly_fitting(before, after)
        if rule is None:
            return DispatchOutcome("ignored", "no rule newly fits", event=event)
        if self._rules.is_too_old(after, now):
            reason = f"the run began {after.begin_time:%F %T} UTC, longer ago than max_age"
            return DispatchOutcome("ignored", reason, event=event)
        run_id = dag_run_id(after.experiment, after.run_number, after.oid)
        if self._dry_run:
            return DispatchOutcome("ignored", f"dry run: {rule.name!r} fits", run_id, event)
        answer = await self._start(rule, after, run_id)
        kind = "started" if answer == "created" else "exists"
        return DispatchOutcome(kind, f"rule {rule.name!r}", run_id, event)

    async def _start(
        self, rule: Rule, record: RunRecord, run_id: str
    ) -> Literal["created", "exists"]:
        conf = _conf_of(rule, record)
        note = f"{record.experiment} run {record.run_number}, by rule {rule.name!r}"
        pause = self._retry_seconds
        for attempt in range(1, self._attempts + 1):
            try:
                return await self._airflow.start_dag_run(self._dag_id, run_id, conf, note=note)
            except LCLStreamError as error:
                if not error.transient:
                    raise
                if attempt == self._attempts:
                    raise TemporaryError(
                        f"{run_id} was not started after {attempt} attempts: {error.problem}",
                        where=error.where,
                        mend=f"{error.mend}; the message is not committed and comes again",
                    ) from error
                logger.warning(
                    "Airflow did not take %s yet: %s", run_id, error, extra={"attempt": attempt}
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, 10.0)
        raise TemporaryError(f"{run_id} was not started", mend="allow at least one attempt")

    def _counted(self, outcome: DispatchOutcome) -> DispatchOutcome:
        self.counts[outcome.kind] += 1
        return outcome


def _conf_of(rule: Rule, record: RunRecord) -> dict[str, Any]:
    try:
        return rule.transfer_request(record).model_dump(mode="json")
    except ValueError as error:  # pydantic's too; names the rule cannot have been tried with
        raise BadInputError(
            f"rule {rule.name!r} makes no request of {record.experiment} run "
            f"{record.run_number}: {error}",
            mend="mend the rule's template; the message is kept in the dead-letter file",
        ) from error
