"""Pydantic models and rows as Markdown."""

import json
from collections.abc import Iterable
from typing import Any


def table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(header)]
    lines.append(["---"] * len(lines[0]))
    lines += [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def type_words(schema: dict[str, Any]) -> str:
    """What a property of a JSON schema may be, in few words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    for kind in ("anyOf", "oneOf"):
        if kind in schema:
            return " or ".join(dict.fromkeys(type_words(part) for part in schema[kind]))
    if isinstance(schema.get("type"), list):
        return " or ".join(type_words({"type": kind}) for kind in schema["type"])
    if schema.get("type") == "array":
        inner = schema.get("items") or {}
        return f"list of {type_words(inner)}" if inner else "list"
    if schema.get("type") == "object":
        inner = [schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()]
        kinds = " or ".join(type_words(part) for part in inner if isinstance(part, dict))
        return f"mapping of names to {kinds}" if kinds else "mapping"
    return {"null": "nothing"}.get(schema.get("type", ""), schema.get("type", "anything"))


def bounds(schema: dict[str, Any]) -> str:
    """The limits of a number or text, in signs."""
    signs = {
        "minimum": "≥",
        "exclusiveMinimum": ">",
        "maximum": "≤",
        "exclusiveMaximum": "<",
        "minLength": "length ≥",
        "maxLength": "length ≤",
    }
    found = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return f" ({', '.join(found)})" if found else ""


def model_section(name: str, schema: dict[str, Any]) -> str:
    """One model: its description and a table of its keys."""
    required = set(schema.get("required", ()))
    rows = []
    for key, value in schema.get("properties", {}).items():
        shown = "required" if key in required else ""
        if "default" in value:
            shown = f"`{json.dumps(value['default'], ensure_ascii=False)}`"
        rows.append(
            (f"`{key}`", type_words(value) + bounds(value), shown, value.get("description", ""))
        )
    text = f"## {name}\n\n{schema.get('description', '')}\n\n"
    return text + (table(("key", "value", "default", "meaning"), rows) if rows else "")


def schema_page(title: str, intro: str, model: Any) -> str:
    """A page for a model and everything it refers to."""
    schema = model.model_json_schema()
    sections = [model_section(model.__name__, schema)]
    sections += [
        model_section(name, part) for name, part in sorted(schema.get("$defs", {}).items())
    ]
    return f"# {title}\n\n{intro}\n\n" + "\n".join(sections)
