"""The Airflow plugin of this provider."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin


class LCLStreamPlugin(AirflowPlugin):
    """What the provider adds to Airflow's user interface."""

    name = "lclstream"
