"""The sweep: asks the Elog which runs there are and starts the transfers that Kafka lost."""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseOperator
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSkipException

from airflow_provider_lclstream.hooks.airflow_api import base_url
from airflow_provider_lclstream.hooks.failures import airflow_failures
from airflow_provider_lclstream.triggers.run_event import make_dispatcher
from lclstreamer.core.errors import BadInputError

if TYPE_CHECKING:
    from airflow.sdk import Context

LATEST_RUNS = 50
"""The latest runs of an experiment that are looked at; the rules' ``max_age`` leaves out more."""


class SweepRunsOperator(BaseOperator):
    """Go over the latest runs of the active experiments; a run with a transfer is left alone.

    Which experiments: the connection's extra ``experiments`` (a list), and those that are active
    at its ``instruments`` (a list of names). Its login and password, or its extra ``token``, are
    sent to the Elog. Without the connection, or without rules, the task is skipped.

    Args:
        elog_conn_id: the Airflow connection (HTTP) to the Elog.
        airflow_conn_id: the Airflow connection to Airflow's REST interface.
        rules_file: the YAML file of `RuleBook`.
        transfer_dag_id: the DAG of transfers.
    """

    ui_color = "#e8f0d5"

    def __init__(
        self,
        *,
        elog_conn_id: str,
        airflow_conn_id: str,
        rules_file: str,
        transfer_dag_id: str = "lclstream_transfer",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.elog_conn_id = elog_conn_id
        self.airflow_conn_id = airflow_conn_id
        self.rules_file = rules_file
        self.transfer_dag_id = transfer_dag_id

    def execute(self, context: Context) -> dict[str, int]:  # noqa: ARG002  (Airflow's signature)
        """Ask the Elog, dispatch what it names; return how often each outcome came."""
        if not self.rules_file:
            message = "no rules: set the option [lclstream] run_event_rules_file"
            raise AirflowSkipException(message)
        try:
            elog = BaseHook.get_connection(self.elog_conn_id)
        except AirflowNotFoundException as error:
            message = f"no connection {self.elog_conn_id!r}: there is no Elog to ask"
            raise AirflowSkipException(message) from error
        with airflow_failures():
            counts = asyncio.run(self._sweep(elog))
        self.log.info("swept: %s", dict(counts) or "no runs")
        return dict(counts)

    async def _sweep(self, connection: Any) -> Counter[str]:
        dispatcher, airflow = make_dispatcher(
            BaseHook.get_connection(self.airflow_conn_id), self.rules_file, self.transfer_dag_id
        )
        async with aclosing(airflow):
            for experiment, run in _latest_runs(connection):
                try:
                    outcome = await dispatcher.handle_document(experiment, run)
                except BadInputError as error:
                    self.log.warning("a run of %s cannot be used: %s", experiment, error)
                    continue
                if outcome.kind == "started":
                    self.log.warning("%s had not been started by its run event", outcome.dag_run_id)
        return dispatcher.counts


def _latest_runs(connection: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return (experiment, run document), oldest first."""
    from airflow_provider_lclstream.elog.client import ElogClient

    extra = connection.extra_dejson
    with ElogClient(base_url(connection), headers=_headers(connection)) as elog:
        found = [elog.active_experiment(name) for name in extra.get("instruments", ())]
        experiments = dict.fromkeys([*extra.get("experiments", ()), *filter(None, found)])
        return [
            (experiment, run)
            for experiment in experiments
            for run in reversed(elog.runs(experiment)[:LATEST_RUNS])
        ]


def _headers(connection: Any) -> dict[str, str]:
    token = connection.extra_dejson.get("token")
    if token:
        return {"Authorization": f"Bearer {token}"}
    if connection.login:
        pair = f"{connection.login}:{connection.password or ''}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    return {}
