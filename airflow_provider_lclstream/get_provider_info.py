"""What Airflow discovers about this provider; read by every Airflow process, so it imports nothing.

``airflow providers get airflow-provider-lclstream`` shows it, ``airflow config list --section
lclstream`` its options.
"""

from __future__ import annotations

from typing import Any

PACKAGE = "airflow_provider_lclstream"
INTEGRATION = "LCLStream"
PSIK_CONNECTION = "psik"
_TEXT = {"type": ["string", "null"]}
_SECRET = {"type": ["string", "null"], "format": "password"}


def get_provider_info() -> dict[str, Any]:
    """Describe the provider in the form of Airflow's ``provider_info.schema.json``."""
    return {
        "package-name": "airflow-provider-lclstream",
        "name": "LCLStream",
        "description": "Stream X-ray experiment data from a beamline to whoever computes on it.",
        "integrations": [
            {
                "integration-name": INTEGRATION,
                "external-doc-url": "https://lcls.slac.stanford.edu",
                "tags": ["service"],
            }
        ],
        "hooks": _modules("hooks.psik", "hooks.certified"),
        "operators": _modules("operators.psik", "operators.transfer", "operators.run_events"),
        "sensors": _modules("sensors.psik"),
        "triggers": _modules("triggers.psik", "triggers.run_event"),
        "extra-links": [f"{PACKAGE}.links.PsikJobLink"],
        "plugins": [{"name": "lclstream", "plugin-class": f"{PACKAGE}.plugin.LCLStreamPlugin"}],
        "connection-types": [_psik_connection(), _certified_connection()],
        "config": {
            "lclstream": {
                "description": "Options of the LCLStream provider.",
                "options": _options(),
            }
        },
    }


def _modules(*names: str) -> list[dict[str, Any]]:
    return [
        {
            "integration-name": INTEGRATION,
            "python-modules": [f"{PACKAGE}.{name}" for name in names],
        }
    ]


def _psik_connection() -> dict[str, Any]:
    return {
        "connection-type": PSIK_CONNECTION,
        "hook-class-name": f"{PACKAGE}.hooks.psik.PsikHook",
        "hook-name": "Psi-K jobs",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "login", "password"],
            "relabeling": {"host": "Service (alias or URL)", "port": "Port of the service"},
            "placeholders": {
                "host": "psik, or https://jobs.example.org:4433; empty: a folder of jobs",
                "port": "4433",
            },
        },
        "conn-fields": {
            "site_file": {
                "label": "Site file",
                "description": "YAML file with the site's folders, backends and ports; "
                "empty: the option [lclstream] site_file, then $LCLSTREAM_SITE_FILE.",
                "schema": _TEXT,
            },
            "prefix": {
                "label": "Job folder",
                "description": "Without a service: the folder that holds one folder per job, "
                "instead of the site file's.",
                "schema": _TEXT,
            },
            **_identity_fields(),
        },
    }


def _certified_connection() -> dict[str, Any]:
    return {
        "connection-type": "certified",
        "hook-class-name": f"{PACKAGE}.hooks.certified.CertifiedHook",
        "hook-name": "Service under mutual TLS (certified)",
        "ui-field-behaviour": {
            "hidden-fields": ["schema", "login", "password"],
            "relabeling": {"host": "Service (alias or host)"},
            "placeholders": {"host": "psik"},
        },
        "conn-fields": _identity_fields(),
    }


def _identity_fields() -> dict[str, dict[str, Any]]:
    """Who Airflow is to a service; every connection that may name one has these fields."""
    return {
        "identity": {
            "label": "Identity folder",
            "description": "Folder made by `lclstream certified init`; empty: the one of this "
            "environment.",
            "schema": _TEXT,
        },
        "certificate": {
            "label": "Certificate (PEM)",
            "description": "Instead of a folder, with the key and the authorities.",
            "schema": _TEXT,
        },
        "private_key": {
            "label": "Private key (PEM)",
            "description": "Stays in memory.",
            "schema": _SECRET,
        },
        "passphrase": {
            "label": "Passphrase",
            "description": "Of the private key, where it is encrypted.",
            "schema": _SECRET,
        },
        "authorities": {
            "label": "Authorities (PEM)",
            "description": "Whose certificates a service may show.",
            "schema": _TEXT,
        },
    }


def _options() -> dict[str, dict[str, Any]]:
    return {
        "site_file": _option(
            "string", "", "YAML file with the site's folders, backends and ports; empty: "
            "$LCLSTREAM_SITE_FILE, else the defaults of a single machine.",
            example="/etc/lclstream/site.yaml",
        ),
        **_run_event_options(),
        **_job_options(),
    }  # fmt: skip


def _run_event_options() -> dict[str, dict[str, Any]]:
    return {
        "run_event_rules_file": _option(
            "string", "", "YAML file that says which run events start which transfer; empty: "
            "$LCLSTREAM_RULES_FILE.",
            example="/etc/lclstream/rules.yaml",
        ),
        "run_event_topics": _option(
            "string", "runs,file_catalog,experiment_switch,instrument_standby",
            "Kafka topics of the Elog that concern runs, separated by commas.",
        ),
        "run_event_dead_letter_topic": _option(
            "string", "lclstream.run_events.rejected",
            "Kafka topic for run events that cannot be understood.",
        ),
        "run_event_kafka_conn_id": _option(
            "string", "kafka_default", "Airflow connection to Kafka for run events; its extra "
            "must hold enable.auto.commit=false.",
        ),
        "airflow_api_conn_id": _option(
            "string", "lclstream_airflow_api", "Airflow connection (HTTP, login and password) "
            "under which run events create transfers through the REST API.",
        ),
        "elog_conn_id": _option(
            "string", "lclstream_elog", "Airflow connection (HTTP) to the Elog, asked for runs "
            "that Kafka lost. Without such a connection the sweep does nothing.",
        ),
        "sweep_interval": _option(
            "integer", "300", "Seconds between two sweeps of the Elog."
        ),
    }  # fmt: skip


def _job_options() -> dict[str, dict[str, Any]]:
    return {
        "job_poll_interval": _option(
            "float", "0.5", "Seconds between two looks into a job's folder; a service tells itself."
        ),
        "least_deferral": _option(
            "float",
            "10",
            "Seconds that a task which waits for a job stays deferred at least. Airflow fails a "
            "task that wakes before the scheduler has noticed that its worker left it: raise this "
            "where the scheduler's loop is slow.",
        ),
        "job_timeout": _option(
            "float",
            "86400",
            "Seconds from a job's creation after which a task stops waiting and cancels it, "
            "unless the task says otherwise.",
        ),
        "ready_wait": _option(
            "float", "10", "Seconds that a task of a transfer waits for the buffer before it "
            "defers; deferring costs about as much (see least_deferral).",
        ),
        "buffer_start_timeout": _option(
            "float",
            "600",
            "Seconds that a buffer's job may take to listen, queueing included.",
        ),
        "max_active_transfers": _option(
            "integer", "8", "How many transfers may run at once; others are queued."
        ),
    }  # fmt: skip


def _option(
    kind: str, default: str, description: str, example: str | None = None
) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": example,
        "default": default,
    }
