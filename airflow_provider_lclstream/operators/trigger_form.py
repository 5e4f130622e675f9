"""The form that Airflow shows for starting a DAG, made from the model that validates the run."""

from __future__ import annotations

import json
from typing import Any

from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict
from pydantic import BaseModel


def params_of(model: type[BaseModel]) -> ParamsDict:
    """Return one DAG parameter per field of a model.

    Airflow checks each parameter against its own schema, which cannot refer to anything outside.
    So a field with an inner structure is checked as an object here, and by the model in the task.
    """
    schema = model.model_json_schema()
    required = set(schema.get("required", ()))
    return ParamsDict(
        {
            name: _param(field, is_required=name in required)
            for name, field in schema["properties"].items()
        }
    )


def _param(field: dict[str, Any], *, is_required: bool) -> Param:
    facts: dict[str, Any] = {key: value for key, value in field.items() if key != "default"}
    if "$ref" in json.dumps(facts):
        kept = {key: facts[key] for key in ("title", "description") if key in facts}
        facts = {"type": "object", **kept}
    # A parameter without a default has to be filled in.
    return Param(**facts) if is_required else Param(field.get("default", _empty(facts)), **facts)


def _empty(facts: dict[str, Any]) -> Any:
    """The default of a field whose model makes it anew each time (a list, a mapping)."""
    return [] if facts.get("type") == "array" else {}
