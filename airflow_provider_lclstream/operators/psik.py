"""The operator that runs one job and waits for it without holding a worker.

Submitting twice would stream a run twice, so every try of a task first looks for the job of the
tries before it, by an idempotency key (`task_memory`): a retry resumes the job, whatever
became of it, and only a cleared task starts a new one.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowTaskTimeout, TaskDeferralError, TaskDeferralTimeout

from airflow_provider_lclstream.hooks import job_results
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
from airflow_provider_lclstream.psik.job import JobNotFoundError
from lclstreamer.core.errors import ConfigurationError, TemporaryError

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_lclstream.psik.facts import JobFacts
    from airflow_provider_lclstream.psik.models import JobSpec

CANCEL_SECONDS = 20.0
KILL_SECONDS = 4.0
"""Airflow lets a worker's process live for five seconds after it told it to end."""


class PsikJobOperator(JobWaitingOperator):
    """Run a job; return what it produced. Its id is the XCom ``jobid`` before the wait begins.

    The job finds in its environment which task it belongs to, under Airflow's own names:
    ``AIRFLOW_CTX_DAG_ID``, ``AIRFLOW_CTX_TASK_ID`` and ``AIRFLOW_CTX_DAG_RUN_ID``.

    The job outlives its worker, the triggerer and the scheduler: the next try resumes it.
    Marking the task as failed or successful cancels it. Its trigger or its worker does that, and,
    where neither is there, the API server (`airflow_provider_lclstream.plugin.listener`), if it
    reaches the jobs. Where it does not, and no job may outlive its DAG run, add a teardown that
    cancels, as ``lclstream_transfer`` does.

    Args:
        job_spec: the job, as a `JobSpec` or a mapping; its texts are templates.
        files: text files to put into the job's working directory first; name → content; templates.
        ready_file: for services: the task succeeds as soon as this JSON file appears in the working
            directory and returns its content; the job goes on.
        result_files: glob patterns of JSON files in the working directory to return.
        result_limit_bytes: the most that ``result_files`` may hold together.
        guard_jobid: a job this one depends on; when it ends, this one is canceled. Template.
        ends_in_trigger: once the job has completed, end the task right in the triggerer. It returns
            nothing then, but saves the start of another worker.
        retry_failed_job: whether Airflow's retries apply to a job that failed (each with a new
            job); otherwise they only cover lost workers and passing errors.
        timeout_seconds: how long the wait may take from the job's creation, queueing included;
            then the job is canceled.
        stream_logs: show in the task's log what the job prints, as it prints it; at most 64 KiB a
            minute.
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
        stream_logs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(ends_in_trigger=ends_in_trigger, stream_logs=stream_logs, **kwargs)
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
        """Submit the job, or resume it, then wait for it."""
        with self._at_jobs():
            facts = self._find_or_submit(context)
            return self._conclude(context, self.wait_for(self._watch(facts)))

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Go on after the wait, also where Airflow ended it: its trigger failed, or none ran."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except (TaskDeferralError, TaskDeferralTimeout) as error:
            jobid, message = jobid_of(context, self.task_id) or "", f"the wait ended: {error}"
        event = JobEvent(status="error", jobid=jobid, state="", message=message)
        return self.execute_complete(context, event)

    def execute_complete(self, context: Context, event: Any = None) -> Any:
        """Go on after the trigger fired; an event that is not understood is a failure."""
        with self._at_jobs():
            self._memory = TaskMemory(context)
            self._jobid = jobid = jobid_of(context, self.task_id) or ""
            read = read_event(event, jobid)
            if read is None:
                self.log.warning(
                    "still waiting for job %s; ignored an event about another one: %s", jobid, event
                )
                read = self.wait_for(self._watch(self.hook.access.look(jobid)))
            return self._conclude(context, read)

    def _watch(self, facts: JobFacts) -> JobWatch:
        deadline = facts.history[0].time + (self.timeout_seconds or number("job_timeout"))
        return JobWatch(facts.jobid, deadline, self.ready_file, self.guard_jobid)

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
            self.log.info("job %s goes on: another process will resume it", self._jobid)
        else:
            self._cancel()

    def _cancel(self) -> None:
        if self._jobid:
            # Over a connection of its own: a signal may have stopped the task amid a question.
            with self.hook.opened() as access:
                access.cancel(self._jobid, f"task {self.task_id} was ended")

    def _find_or_submit(self, context: Context) -> JobFacts:
        from airflow_provider_lclstream.psik.states import JobState

        self._memory = memory = TaskMemory(context)
        spec, files = self.make_job(context)
        spec = memory.told_to(spec)
        facts = self._find_or_make(memory, spec, files)
        if facts.state is JobState.canceled:
            # Canceled together with an earlier try; whoever runs the task again wants it to run.
            memory.give_up()
            facts = self._find_or_make(memory, spec, files)
        self._jobid = facts.jobid
        before = memory.last_jobid()
        memory.remember(facts.jobid)
        if before not in {None, facts.jobid}:
            # Cleared, or given up: nobody waits for the one before any more.
            with contextlib.suppress(JobNotFoundError):
                self.hook.cancel(str(before), timeout_seconds=CANCEL_SECONDS)
        if facts.state is JobState.new:
            # The same key: this submits the one job, however often it is said.
            facts = self.hook.access.create(spec, idempotency_key=memory.key())
            self.log.info("job %s submitted: %s", facts.jobid, spec.name)
        else:
            self.log.info("resuming job %s: it is %s", facts.jobid, facts.state)
        return facts

    def _find_or_make(
        self, memory: TaskMemory, spec: JobSpec, files: Mapping[str, str]
    ) -> JobFacts:
        access = self.hook.access
        facts = access.create(spec, idempotency_key=memory.key(), files=files, submit=False)
        return facts if facts.rows == 1 else access.look(facts.jobid)

    def _conclude(self, context: Context, event: JobEvent) -> Any:
        """Turn the end of the wait into a result or a failure."""
        self.log.info("%s", event["message"])
        if event["status"] == "error":
            raise self._lost_sight(context, event)
        access = self.hook.access
        facts = access.look(event["jobid"])
        if event["status"] == "ready" and self.ready_file and not facts.state.is_final:
            return job_results.read_json(access, facts.jobid, self.ready_file)
        if (event["status"], facts.state, self.ready_file) == ("final", "completed", None):
            files = job_results.result_files(
                access, facts.jobid, self.result_files, self.result_limit_bytes
            )
            return {"jobid": facts.jobid, "state": str(facts.state), "files": files}
        if self.retry_failed_job:
            TaskMemory(context).give_up()
        raise self._failure(facts, event)

    def _failure(self, facts: JobFacts, event: JobEvent) -> JobFailedError:
        """Say why the job is no success; a job that is no use any more is canceled."""
        reason = facts.info or facts.remark or "no reason"
        problem = f"job {facts.jobid} ({facts.name}) is {facts.state}: {reason}"
        if not facts.state.is_final:
            problem = f"{event['message']}; {problem}"
            self.hook.cancel(facts.jobid, timeout_seconds=CANCEL_SECONDS)
        for name, text in job_results.log_tails(self.hook.access, facts):
            self.log.error("the end of %s of job %s:\n%s", name, facts.jobid, text)
        kind = JobMayBeRetriedError if self.retry_failed_job else JobFailedError
        return kind(problem, mend="fix what the end of its log above shows, then clear this task")

    def _lost_sight(self, context: Context, event: JobEvent) -> TemporaryError:
        """The wait itself failed. The job may be well, so only the last try gives it up."""
        ti = task_instance(context)
        if ti.try_number > ti.max_tries and event["jobid"]:
            self.hook.cancel(event["jobid"], timeout_seconds=CANCEL_SECONDS)
        return TemporaryError(
            f"waiting for job {event['jobid']} failed: {event['message']}",
            mend="look at the triggerer's log; a retry resumes the job",
        )


def _plain(job_spec: JobSpec | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the specification as Airflow can render, store and show it."""
    if job_spec is None or isinstance(job_spec, Mapping):
        plain = None if job_spec is None else dict(job_spec)
    else:
        plain = {**job_spec.to_stored(), "cb_secret": job_spec.cb_secret}
    if plain and (plain.pop("cb_secret", None) or plain.pop("client_secret", None)):
        raise ConfigurationError(
            "a job's callback secret is written in a DAG, where everybody can read it",
            mend="leave cb_secret out: Airflow watches the job itself",
        )
    return plain
