"""The four tasks of a transfer: buffer up, streamer, settle, buffer down.

What is asked for, how jobs are launched and how a transfer is judged is decided in
`airflow_provider_lclstream.transfer`, which knows no Airflow; here it meets DAG runs and jobs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from airflow_provider_lclstream.hooks import job_results
from airflow_provider_lclstream.hooks.job_watch import JobEvent, JobWatch, read_event
from airflow_provider_lclstream.operators.psik import CANCEL_SECONDS, PsikJobOperator
from airflow_provider_lclstream.operators.task_memory import jobid_of, task_instance
from airflow_provider_lclstream.operators.waiting import JobWaitingOperator
from lclstreamer.core.errors import (
    BadInputError,
    IncompleteStreamError,
    TemporaryError,
)

if TYPE_CHECKING:
    from airflow.sdk import Context
    from pydantic import BaseModel

    from airflow_provider_lclstream.psik.models import JobSpec
    from airflow_provider_lclstream.transfer.launch_plan import BufferEndpoints
    from airflow_provider_lclstream.transfer.models import TransferRequest
    from airflow_provider_lclstream.transfer.settlement import Settlement

Model = TypeVar("Model", bound="BaseModel")
RESULTS_LIMIT_BYTES = 64 * 2**20
DRAIN_GRACE_SECONDS = 60.0
"""So much longer than its own drain timeout a buffer may take before it is canceled."""


def request_of(context: Context) -> TransferRequest:
    """Return what this DAG run was asked to do.

    Raises:
        ConfigurationError: the run's parameters are no transfer request; lists every mistake.
    """
    from airflow_provider_lclstream.transfer.models import TransferRequest
    from lclstreamer.core.config_file import Document, validate_document

    params = dict(cast("Any", context)["params"])
    return validate_document(Document("the transfer request", params), TransferRequest)


class BufferUpOperator(PsikJobOperator):
    """Check the request, start the buffer, return its endpoints (`BufferEndpoints`)."""

    def __init__(self, **kwargs: Any) -> None:
        from airflow_provider_lclstream.transfer.launch_plan import ENDPOINTS_FILE

        super().__init__(ready_file=ENDPOINTS_FILE, retry_failed_job=False, **kwargs)

    def make_job(self, context: Context) -> tuple[JobSpec, Mapping[str, str]]:
        """Plan the buffer; plan the streamer too, so that a mistake shows before anything runs."""
        from airflow_provider_lclstream.hooks.settings import number
        from airflow_provider_lclstream.transfer.launch_plan import (
            check_room,
            plan_buffer,
            plan_streamer,
        )

        request, site = request_of(context), self.hook.site
        check_room(request, site, int(number("max_active_transfers")))
        trial = plan_streamer(request, site, _some_endpoints())
        self.hook.access.check(trial)
        return plan_buffer(request, site), {}


class StreamerOperator(PsikJobOperator):
    """Stream the run into the buffer; ends when every rank has ended.

    Args:
        buffer_task_id: the task whose result are the buffer's endpoints.
        **kwargs: those of `PsikJobOperator`.
    """

    def __init__(self, *, buffer_task_id: str, **kwargs: Any) -> None:
        super().__init__(retry_failed_job=False, ends_in_trigger=True, **kwargs)
        self.buffer_task_id = buffer_task_id

    def make_job(self, context: Context) -> tuple[JobSpec, Mapping[str, str]]:
        """Plan the streamer for the buffer that is up."""
        from airflow_provider_lclstream.transfer.launch_plan import plan_streamer, read_endpoints

        endpoints = read_endpoints(task_instance(context).xcom_pull(task_ids=self.buffer_task_id))
        # Without its buffer it would wait for nothing.
        self.guard_jobid = jobid_of(context, self.buffer_task_id)
        return plan_streamer(request_of(context), self.hook.site, endpoints), {}


class SettleOperator(JobWaitingOperator):
    """Let the buffer run empty, compare the ledgers and publish the result (`Settlement`).

    Args:
        buffer_task_id: the task that started the buffer.
        streamer_task_id: the task that ran the streamer, whether or not it succeeded.
        **kwargs: those of `JobWaitingOperator`.
    """

    def __init__(self, *, buffer_task_id: str, streamer_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.buffer_task_id = buffer_task_id
        self.streamer_task_id = streamer_task_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Ask the buffer to drain, then wait for its end."""
        with self._at_jobs():
            buffer_jobid = jobid_of(context, self.buffer_task_id)
            endpoints = task_instance(context).xcom_pull(task_ids=self.buffer_task_id)
            if buffer_jobid is None or not endpoints:
                return self._publish(context, None)
            self._drain(buffer_jobid)
            limit = request_of(context).drain_timeout_seconds + DRAIN_GRACE_SECONDS
            event = self.wait_for(JobWatch(buffer_jobid, time.time() + limit))
            return self._settle(context, event)

    def execute_complete(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Go on after the buffer's end."""
        with self._at_jobs():
            buffer_jobid = jobid_of(context, self.buffer_task_id) or ""
            return self._settle(context, read_event(event, buffer_jobid))

    def _drain(self, jobid: str) -> None:
        from airflow_provider_lclstream.transfer.launch_plan import DRAIN_FILE

        access = self.hook.access
        if access.look(jobid).state.is_final:
            return
        # The buffer's ports are at its own site; its folder can be reached wherever its job can.
        access.write_file(jobid, DRAIN_FILE, b"")
        self.log.info("no more producers: draining buffer %s", jobid)

    def _settle(self, context: Context, event: JobEvent | None) -> dict[str, Any]:
        if event is None or event["status"] == "error":
            raise TemporaryError(
                f"waiting for the buffer failed: {event['message'] if event else 'a late event'}",
                mend="look at the triggerer's log; a retry goes on waiting",
            )
        if event["status"] == "timeout":
            self.log.error("%s", event["message"])
            self.hook.cancel(event["jobid"], timeout_seconds=CANCEL_SECONDS)
        return self._publish(context, event["jobid"])

    def _publish(self, context: Context, buffer_jobid: str | None) -> dict[str, Any]:
        settlement = self._judge(context, buffer_jobid)
        published = settlement.model_dump(mode="json")
        # Pushed here, because a task that fails returns nothing.
        task_instance(context).xcom_push(key="return_value", value=published)
        numbers = (
            f"{settlement.events_produced} events in {settlement.messages_produced} messages "
            f"produced, {settlement.messages_delivered} delivered, {settlement.messages_lost} lost"
        )
        if settlement.state != "completed":
            raise IncompleteStreamError(
                f"{numbers}: {'; '.join(settlement.problems)}",
                mend="see the logs of the transfer's jobs (button 'Job'), then clear 'buffer_up'",
            )
        self.log.info("transfer complete: %s", numbers)
        return published

    def _judge(self, context: Context, buffer_jobid: str | None) -> Settlement:
        from airflow_provider_lclstream.transfer import settlement as rules
        from airflow_provider_lclstream.transfer.launch_plan import LEDGER_FILE, REPORT_PATTERN

        streamer_jobid = jobid_of(context, self.streamer_task_id)
        reports = self._documents(streamer_jobid, REPORT_PATTERN, rules.RankReport)
        ledgers = self._documents(buffer_jobid, LEDGER_FILE, rules.BufferLedger)
        ledger = ledgers[0] if ledgers else None
        settlement = rules.settle(reports, ledger, ranks=request_of(context).ranks)
        last = self.hook.access.look(streamer_jobid) if streamer_jobid else None
        if last is not None and last.state == "completed":
            return settlement
        said = "was not started" if last is None else f"is {last.state}: {last.info}"
        problems = (f"the streamer's job {said}", *settlement.problems)
        return settlement.model_copy(update={"state": "failed", "problems": problems})

    def _documents(self, jobid: str | None, pattern: str, model: type[Model]) -> list[Model]:
        """Read what a job left behind; what another program wrote may be anything."""
        from pydantic import ValidationError

        if jobid is None:
            return []
        found = job_results.result_files(self.hook.access, jobid, [pattern], RESULTS_LIMIT_BYTES)
        try:
            return [model.model_validate(document) for document in found.values()]
        except ValidationError as error:
            raise BadInputError(
                f"{pattern} of job {jobid} is not what this version writes: {error}",
                mend="use the same version of this package for Airflow and for the jobs",
            ) from error


class BufferDownOperator(JobWaitingOperator):
    """Leave no job behind, whatever happened, and give the DAG run its true end.

    The run's state is this task's state: a run that somebody marked as failed has no failed task
    otherwise (Airflow skips what had not begun), and would end as a success.

    Args:
        job_task_ids: the tasks whose jobs must not outlive the run; canceled in this order.
        settle_task_id: the task that returns the settlement.
        **kwargs: those of `JobWaitingOperator`.
    """

    def __init__(self, *, job_task_ids: list[str], settle_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_task_ids = job_task_ids
        self.settle_task_id = settle_task_id

    def execute(self, context: Context) -> None:
        """Cancel what still runs; fail unless the transfer is complete."""
        with self._at_jobs():
            for task_id in self.job_task_ids:
                jobid = jobid_of(context, task_id)
                if jobid:
                    state = self.hook.cancel(jobid, timeout_seconds=CANCEL_SECONDS)
                    self.log.info("job %s of task %s is %s", jobid, task_id, state)
            settlement = task_instance(context).xcom_pull(task_ids=self.settle_task_id)
            if not settlement:
                raise IncompleteStreamError(
                    "the transfer was ended before it was settled",
                    mend="start it again if it is still wanted",
                )
            if settlement["state"] != "completed":
                raise IncompleteStreamError(
                    f"the transfer {settlement['state']}: {'; '.join(settlement['problems'])}",
                    mend=f"the task {self.settle_task_id!r} has the numbers",
                )


def _some_endpoints() -> BufferEndpoints:
    """Endpoints of no buffer, for planning on trial."""
    from airflow_provider_lclstream.transfer.launch_plan import BufferEndpoints

    inlets = {"nng": "tcp://127.0.0.1:1", "zmq": "zmq+tcp://127.0.0.1:1"}
    return BufferEndpoints(inlets=inlets, outlets=inlets)
