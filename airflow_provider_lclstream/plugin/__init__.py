"""The Airflow plugin of this provider. Every Airflow process loads it, so it is small."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_lclstream.plugin import listener


class LCLStreamPlugin(AirflowPlugin):
    """What the provider adds to Airflow itself.

    A page for each job, to which the button "Job" of a task leads
    (`airflow_provider_lclstream.links.PsikJobLink`), and the end of jobs whose tasks were marked
    (`listener`).
    """

    name = "lclstream"
    listeners = [listener]

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The pages; made only where they are served, because FastAPI takes long to import."""
        from airflow_provider_lclstream.plugin.app import make_app

        return [{"app": make_app(), "url_prefix": "/lclstream", "name": "LCLStream"}]
