"""One rank, from its configuration to its report."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from itertools import islice
from typing import Any

from lclstreamer.core.errors import ConfigurationError, LCLStreamError
from lclstreamer.core.events import Batch, Event
from lclstreamer.data_sources.base import Extractor
from lclstreamer.engine.completeness import CompletenessGate
from lclstreamer.engine.progress import ProgressLog
from lclstreamer.engine.report import STOPPED_EXIT_CODE, RankReport
from lclstreamer.engine.stages import DeliveryStage, SerializerStage, attempt, size_of
from lclstreamer.event_sources.base import EventSource, SourceSetup, StopFlag
from lclstreamer.mpi import RankContext
from lclstreamer.parameters.configuration import StreamerConfiguration
from lclstreamer.registry import find_class

logger = logging.getLogger(__name__)

INCOMPLETE_EXIT_CODE = 74
"""Something that was read has not been delivered."""

STOPPED = "it was stopped before the end of the run; what it had read was sent"
INTERRUPTED = "it was interrupted before the end of the run"


def needs_communicator(configuration: StreamerConfiguration) -> bool:
    """Whether the ranks of this run must be able to talk to each other (over MPI)."""
    source: type[EventSource] = find_class("event_source", configuration.event_source.type)
    return source.needs_communicator(configuration.event_source, configuration.source_identifier)


class Rank:
    """Streams one rank's share of a run.

    Args:
        configuration: what to do.
        context: this rank among the others.
        limit: no more events than this over all ranks; None for all.
        stop: once it is set, reading ends and what was read is delivered.
    """

    def __init__(
        self,
        configuration: StreamerConfiguration,
        context: RankContext,
        *,
        limit: int | None = None,
        stop: StopFlag | None = None,
    ) -> None:
        self._configuration, self._context = configuration, context
        self._limit, self._stop = limit, stop or StopFlag()
        self._extractor = Extractor(
            configuration.data_sources, lambda source: find_class("data_source", source.type)
        )
        self._gate = CompletenessGate(
            configuration.data_sources, skips_incomplete=configuration.skip_incomplete_events
        )
        self._serializing: SerializerStage | None = None
        self._batched = 0  # events in batches
        self._source_error: LCLStreamError | None = None
        self.report = RankReport(context.rank, context.size, run=configuration.source_identifier)
        self.error: LCLStreamError | None = None

    def run(self) -> RankReport:
        """Stream everything and report. What ended the rank early, if anything, is in ``error``."""
        start = time.monotonic()
        error = attempt(self._run)
        if error is not None:
            self.error = error
            self.report.fail(error)
        self.report.seconds = round(time.monotonic() - start, 3)
        if self._serializing is not None:
            logger.info("rank ended", extra=self._facts())
        return self.report

    def _facts(self) -> dict[str, Any]:
        report = self.report
        return {
            "rank": report.rank, "state": report.state, "events": report.events,
            "messages": report.messages, "bytes": report.bytes, "skipped": report.skipped_events,
            "seconds": report.seconds, "problems": report.problems,
        }  # fmt: skip

    def counts(self) -> dict[str, int]:
        """How far the rank is."""
        serializing, counts = self._serializing, self._gate.counts
        return {
            "rank": self._context.rank,
            "events": counts.read,
            "skipped": counts.skipped,
            "messages": serializing.messages if serializing else 0,
            "bytes": serializing.bytes if serializing else 0,
        }

    def _run(self) -> None:
        try:
            pipeline = self._make("pipeline", self._configuration.processing_pipeline)
            serializer = self._make("serializer", self._configuration.data_serializer)
            source = self._make_source()
        except Exception as error:
            self._call_off(error)
            raise
        self.report.run = source.run
        if not source.produces_events:
            self._serve(source)
            return
        deliveries = self._open_handlers()
        self._serializing = serializing = SerializerStage(serializer, deliveries)
        serializing.start()
        logger.info(
            "streaming starts",
            extra={"run": source.run, "rank": self._context.rank, "pid": os.getpid()},
        )
        error, reason = None, INTERRUPTED
        try:
            with ProgressLog(self):
                error = attempt(partial(self._read, source, pipeline, serializing))
            reason = error.problem if error else STOPPED if self._stop.is_set() else ""
        finally:
            serializing.missing += self._shortfall(reason)
            serializing.queue.finish()
            serializing.wait()
            for stage in deliveries:
                stage.wait()
            self._settle(serializing, deliveries)
        if error is not None:
            raise error

    def _shortfall(self, reason: str) -> list[str]:
        """Why what goes to the serializer is not the whole run, one sentence each."""
        counts = self._gate.counts
        lost = counts.read - counts.skipped - self._batched
        told = f"{lost} events were read but are in no message" if lost else ""
        return [text for text in (reason, told) if text]

    def _call_off(self, error: Exception) -> None:
        """Tell whoever waits at the other side of a handler that nothing comes, and why."""
        reason = error.problem if isinstance(error, LCLStreamError) else repr(error)
        logger.error("the rank cannot start", extra={"reason": reason})

        def tell() -> None:
            stages = self._make_deliveries()
            for stage in stages:
                stage.call_off(reason)
                stage.start()
            for stage in stages:
                stage.wait()

        attempt(tell)  # the rank has failed already, and says why

    def _make(self, kind: Any, parameters: Any, *arguments: Any) -> Any:
        return find_class(kind, parameters.type)(parameters, *arguments)

    def _make_source(self) -> EventSource:
        configuration = self._configuration
        for section in ("data_sources", "data_handlers"):
            if not getattr(configuration, section):
                raise ConfigurationError(
                    f"{section} is empty: there is nothing to do",
                    mend=f"name at least one of them in {section}",
                )
        setup = SourceSetup(
            configuration.source_identifier,
            self._extractor,
            self._context,
            self._limit,
            self._stop,
        )
        return self._make("event_source", configuration.event_source, setup)

    def _serve(self, source: EventSource) -> None:
        """Take part in psana's division of labour without getting events."""
        self.report.role = "psana"
        for _ in source.events():
            logger.debug("an event came to a rank that expects none")
        self._conclude()

    def _make_deliveries(self) -> list[DeliveryStage]:
        context = self._context
        return [
            DeliveryStage(
                index, handler.type, self._make("handler", handler, context.rank, context.size)
            )
            for index, handler in enumerate(self._configuration.data_handlers)
        ]

    def _open_handlers(self) -> list[DeliveryStage]:
        stages = self._make_deliveries()
        for stage in stages:
            stage.start()
        try:
            for stage in stages:
                stage.wait_until_open()
        except LCLStreamError as error:
            for stage in stages:
                stage.call_off(error.problem)
            for stage in stages:
                stage.wait()
            raise
        return stages

    def _read(self, source: EventSource, pipeline: Any, serializing: SerializerStage) -> None:
        """Read to the end of the run, to a stop, or until nobody takes the batches."""
        events: Iterator[Event] = source.events()
        batches: Iterator[Batch] = pipeline.process(
            self._gate.passed(self._until_error(events)), run=source.run, rank=self._context.rank
        )
        try:
            for batch in batches:
                self._batched += len(batch)
                if not serializing.queue.put(batch, size_of(batch)):
                    break
        finally:
            if self._context.communicator is not None:
                self._drain(events)
        if self._source_error is not None:
            raise self._source_error

    def _until_error(self, events: Iterator[Event]) -> Iterator[Event]:
        """The events; an error waits until those before it are in a batch and on their way."""
        while True:
            taken: list[Event] = []
            self._source_error = attempt(partial(_take_one, events, taken))
            if not taken:
                return
            yield taken[0]

    def _drain(self, events: Iterator[Event]) -> None:
        """Let psana come to its end with the other ranks, if this one ended before it."""
        was_stopped = self._stop.is_set()
        self._stop.set()
        for event in events:
            logger.debug("dropped", extra={"event_id": event.event_id})
        if not was_stopped:
            self._stop.clear()

    def _settle(self, serializing: SerializerStage, deliveries: list[DeliveryStage]) -> None:
        """Fill the report, and judge."""
        report, counts = self.report, self._gate.counts
        report.messages, report.bytes = serializing.messages, serializing.bytes
        report.events, report.events_read = serializing.events, counts.read
        report.skipped_events, report.filled_events = counts.skipped, counts.filled
        report.missing, report.failures = dict(counts.missing), dict(self._extractor.failures)
        report.first_event_unix, report.last_event_unix = counts.first_unix, counts.last_unix
        confirmed: list[int | None] = []
        for stage in deliveries:
            self._settle_delivery(stage, confirmed)
        report.confirmed_messages = (
            None
            if None in confirmed
            else min((c for c in confirmed if c is not None), default=None)
        )
        lost = counts.read - counts.skipped - report.events
        if lost:
            report.problems.append(f"{lost} events were read but never became a message")
        if serializing.error is not None:
            self.error = serializing.error
            report.fail(serializing.error)
        elif report.problems:
            report.state, report.exit_code = "failed", INCOMPLETE_EXIT_CODE
        else:
            self._conclude()

    def _conclude(self) -> None:
        """Nothing was lost: the run was read to its end, or until the reading was stopped."""
        if self._stop.is_set():
            self.report.state, self.report.exit_code = "stopped", STOPPED_EXIT_CODE
        else:
            self.report.state, self.report.exit_code = "completed", 0

    def _settle_delivery(self, stage: DeliveryStage, confirmed: list[int | None]) -> None:
        report, delivered = self.report, stage.report
        if stage.error is not None:
            report.problems.append(f"{stage.name}: {stage.error}")
        if delivered is None:
            confirmed.append(0)
            return
        report.handlers.append(asdict(delivered))
        report.problems += [f"{delivered.handler}: {problem}" for problem in delivered.problems]
        confirmed.append(delivered.confirmed_messages)
        if delivered.messages < report.messages:
            report.problems.append(
                f"{delivered.handler}: took {delivered.messages} of {report.messages} messages"
            )


def _take_one(events: Iterator[Event], taken: list[Event]) -> None:
    taken.extend(islice(events, 1))
