"""A task instance as operators see it, over its tries: two dictionaries stand for Airflow."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace


class Store(dict):
    """The task state store, as far as it is used."""

    def set(self, key, value):
        self[key] = value


class Task:
    """One task instance over its tries: what Airflow keeps of it."""

    def __init__(self, run_id="run"):
        self.store, self.xcoms = Store(), {}
        self.try_number, self.max_tries, self.run_id = 1, 2, run_id
        self.run_after = datetime.now(UTC)

    def retry(self):
        """As Airflow does: another try, without the XComs of the last."""
        self.try_number, self.xcoms = self.try_number + 1, {}

    def clear(self):
        """As Airflow does: another try, and as many retries as before on top."""
        self.max_tries = self.try_number + 2
        self.retry()

    def context(self):
        ti = SimpleNamespace(
            dag_id="dag", task_id="job", run_id=self.run_id, map_index=-1, max_tries=self.max_tries,
            try_number=self.try_number,
            xcom_push=lambda key, value: self.xcoms.__setitem__(key, value),
            xcom_pull=lambda task_ids, key="return_value", **_: self.xcoms.get(key),
        )  # fmt: skip
        dag_run = SimpleNamespace(run_after=self.run_after)
        return {"ti": ti, "dag_run": dag_run, "task_state_store": self.store}
