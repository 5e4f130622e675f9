"""The operator that runs one job and waits for it without holding a worker.

Submitting twice would stream a run twice, so every try of a task first looks for the job of the
tries before it, by an idempotency key (`task_memory`): a retry takes the job up again, whatever
became of it, and only a cleared task starts a new one.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowTaskTimeout

from airflow_provider_lclstream.hooks.failures import airflow_failures
from airflow_provider_lclstream.hooks.job_watch import (
    JobEvent,
    JobFailedError,
    JobMayBeRetriedError,
    JobWatch,
    read_event,
)
from airflow_provider_lclstream.hooks.settings import number
from airflow_provider_lclstream.links import PsikJobLink
from airflow_provider_lclstream.operators.task_memory import TaskMemory, jobid_of, task_instance
from airflow_provider_lclstream.operators.waiting import JobWaitingOperator
from lclstreamer.core.errors import ConfigurationError, TemporaryError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_lclstream.psik.job import Job
    from airflow_provider_lclstream.psik.models import JobSpec

CANCEL_SECONDS = 20.0
KILL_SECONDS = 4.0
"""Airflow lets a worker's process live for five seconds after it told it to end."""


class PsikJobOperator(JobWaitingOperator):
    """Run a job; return what it produced. Its id is the XCom ``jobid`` before the wait begins.

    Marking the task as failed or successful cancels the job. Airflow does not tell a trigger that
    had not begun yet, so where no job may outlive its DAG run, add a teardown that cancels, as
    ``lclstream_transfer`` does.

    Args:
        job_spec: the job, as a `JobSpec` or a mapping; its texts are templates.
        files: text files to put into the job's working directory first; name → content; templates.
        ready_file: for services: the task succeeds as soon as this JSON file appears in the working
            directory and returns its content; the job goes on.
        result_files: glob patterns of JSON files in the working directory to return.
        result_limit_bytes: the most that ``result_files`` may hold together.
        guard_jobid: a job this one cannot do without; when it ends, this one is canceled. Template.
        ends_in_trigger: once the job has completed, end the task right in the triggerer. It returns
            nothing then, but saves the start of another worker.
        retry_failed_job: whether Airflow's retries apply to a job that failed (each with a new
            job); otherwise they only cover lost workers and passing errors.
        timeout_seconds: how long the wait may take from the job's creation, queueing included;
            then the job is canceled.
        **kwargs: those of `JobWaitingOperator` and of every operator.
    """

    template_fields: Collection[str] = (
        *JobWaitingOperator.template_fields,
        "job_spec",
        "files",
        "guard_jobid",
    )
    template_fields_renderers = {"job_spec": "json", "files": "json"}
    operator_extra_links = (PsikJobLink(),)

    def __init__(
        self,
        *,
        job_spec: JobSpec | Mapping[str, Any] | None = None,
        files: Mapping[str, str] | None = None,
        ready_file: str | None = None,
        result_files: Sequence[str] = (),
        result_limit_bytes: int = 1_000_000,
        guard_jobid: str | None = None,
        ends_in_trigger: bool = False,
        retry_failed_job: bool = True,
        timeout_seconds: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(ends_in_trigger=ends_in_trigger, **kwargs)
        self.job_spec = _plain(job_spec)
        self.files = dict(files or {})
        self.ready_file = ready_file
        self.result_files = tuple(result_files)
        self.result_limit_bytes = result_limit_bytes
        self.guard_jobid = guard_jobid
        self.retry_failed_job = retry_failed_job
        self.timeout_seconds = timeout_seconds
        self._jobid: str | None = None
        self._memory: TaskMemory | None = None

    def make_job(self, context: Context) -> tuple[JobSpec, Mapping[str, str]]:  # noqa: ARG002
        """Return the job to run and its files; subclasses make it from the run's parameters."""
        from airflow_provider_lclstream.psik.models import JobSpec

        if self.job_spec is None:
            raise ConfigurationError(
                f"task {self.task_id} has no job_spec", mend="give the operator a job_spec"
            )
        return JobSpec.model_validate(self.job_spec), self.files

    def execute(self, context: Context) -> Any:
        """Submit the job, or take it up again, then wait for it."""
        with airflow_failures():
            job = self._find_or_submit(context)
            return self._conclude(context, self.wait_for(self._watch(job)))

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Go on after the trigger fired; an event that is not understood is a failure."""
        with airflow_failures():
            self._memory = TaskMemory(context)
            self._jobid = jobid = jobid_of(context, self.task_id) or ""
            read = read_event(event, jobid)
            if read is None:
                self.log.warning("not about job %s, which is waited for on: %s", jobid, event)
                read = self.wait_for(self._watch(self.hook.job(jobid)))
            return self._conclude(context, read)

    def _watch(self, job: Job) -> JobWatch:
        deadline = job.history()[0].time + (self.timeout_seconds or number("job_timeout"))
        return JobWatch(job.jobid, deadline, self.ready_file, self.guard_jobid)

    def on_kill(self) -> None:
        """Cancel the job, unless only this process has to end and the task goes on elsewhere."""
        if isinstance(sys.exception(), AirflowTaskTimeout):
            self._cancel()
            return
        # A signal has stopped the main thread anywhere, perhaps while it held a lock.
        ending = threading.Thread(target=self._cancel_if_ended, name="ending", daemon=True)
        ending.start()
        ending.join(KILL_SECONDS)

    def _cancel_if_ended(self) -> None:
        try:
            goes_on = bool(self._jobid and self._memory and self._memory.goes_on(self._jobid))
        except Exception as error:  # not knowing must not keep a job running
            self.log.warning("Airflow does not say what became of the task: %s", error)
            goes_on = False
        if goes_on:
            self.log.info("job %s goes on: another process will take it up", self._jobid)
        else:
            self._cancel()

    def _cancel(self) -> None:
        if self._jobid:
            self.hook.job(self._jobid).cancel(f"task {self.task_id} was ended")

    def _find_or_submit(self, context: Context) -> Job:
        from airflow_provider_lclstream.psik.states import JobState

        self._memory = memory = TaskMemory(context)
        spec, files = self.make_job(context)
        job, state = self._create(memory, spec, files)
        if state is JobState.canceled:
            # Canceled together with an earlier try; whoever runs the task again wants it to run.
            memory.give_up()
            job, state = self._create(memory, spec, files)
        self._jobid = job.jobid
        before = memory.last_jobid()
        memory.remember(job.jobid)
        if before not in {None, job.jobid}:
            # Cleared, or given up: nobody waits for the one before any more.
            self.hook.cancel(str(before), timeout_seconds=CANCEL_SECONDS)
        if state is JobState.new:
            job.submit()
            self.log.info("job %s submitted: %s", job.jobid, spec.name)
        else:
            self.log.info("job %s taken up again: it is %s", job.jobid, state)
        return job

    def _create(
        self, memory: TaskMemory, spec: JobSpec, files: Mapping[str, str]
    ) -> tuple[Job, Any]:
        job = self.hook.create(spec, idempotency_key=memory.key(), dag_id=self.dag_id, files=files)
        return job, job.reconcile()

    def _conclude(self, context: Context, event: JobEvent) -> Any:
        """Turn the end of the wait into a result or a failure."""
        self.log.info("%s", event["message"])
        if event["status"] == "error":
            raise self._lost_sight(context, event)
        job = self.hook.job(event["jobid"])
        state = job.reconcile()
        if event["status"] == "ready" and self.ready_file and not state.is_final:
            return self.hook.read_json(job, self.ready_file)
        if event["status"] == "final" and state == "completed" and self.ready_file is None:
            files = self.hook.result_files(job, self.result_files, self.result_limit_bytes)
            return {"jobid": job.jobid, "state": str(state), "files": files}
        if self.retry_failed_job:
            TaskMemory(context).give_up()
        raise self._failure(job, event)

    def _failure(self, job: Job, event: JobEvent) -> JobFailedError:
        """Say why the job is no success; a job that is no use any more is canceled."""
        last = job.last()
        problem = f"job {job.jobid} ({job.spec.name}) is {last.state}: {last.info or 'no reason'}"
        if not last.state.is_final:
            problem = f"{event['message']}; {problem}"
            self.hook.cancel(job.jobid, timeout_seconds=CANCEL_SECONDS)
        for name, text in self.hook.log_tails(job):
            self.log.error("the end of %s of job %s:\n%s", name, job.jobid, text)
        kind = JobMayBeRetriedError if self.retry_failed_job else JobFailedError
        return kind(problem, mend="mend what the end of its log shows above, then clear this task")

    def _lost_sight(self, context: Context, event: JobEvent) -> TemporaryError:
        """The wait itself failed. The job may be well, so only the last try gives it up."""
        ti = task_instance(context)
        if ti.try_number > ti.max_tries and event["jobid"]:
            self.hook.cancel(event["jobid"], timeout_seconds=CANCEL_SECONDS)
        return TemporaryError(
            f"waiting for job {event['jobid']} failed: {event['message']}",
            mend="look at the triggerer's log; a retry takes the job up again",
        )


def _plain(job_spec: JobSpec | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the specification as Airflow can render, store and show it."""
    if job_spec is None or isinstance(job_spec, Mapping):
        plain = None if job_spec is None else dict(job_spec)
    else:
        plain = {**job_spec.to_stored(), "cb_secret": job_spec.cb_secret}
    if plain and (plain.pop("cb_secret", None) or plain.pop("client_secret", None)):
        raise ConfigurationError(
            "a job's callback secret stands in a DAG, where everybody can read it",
            mend="leave cb_secret out: Airflow watches the job itself",
        )
    return plain
