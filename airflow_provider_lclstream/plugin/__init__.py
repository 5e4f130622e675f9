"""The Airflow plugin of this provider. Every Airflow process loads it, so it is small."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin


class LCLStreamPlugin(AirflowPlugin):
    """What the provider adds to Airflow's user interface: a page for each job.

    The button "Job" of a task leads there (`airflow_provider_lclstream.links.PsikJobLink`).
    """

    name = "lclstream"

    @property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The pages; made only where they are served, because FastAPI takes long to import."""
        from airflow_provider_lclstream.plugin.app import make_app

        return [{"app": make_app(), "url_prefix": "/lclstream", "name": "LCLStream"}]
