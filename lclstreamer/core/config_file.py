"""Configuration files: YAML or JSON into a pydantic model, all faults at once, each located.

A fault reads ``file:line:column: path: what (did you mean …?)``. Positions come from PyYAML's
node marks, meanings from pydantic's errors, suggestions from the model's own names.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lclstreamer.core.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    import yaml
    from pydantic import BaseModel, ValidationError

MAXIMUM_NODES = 100_000
"""More keys and values than this are refused: a few aliases can unfold into billions."""

Model = TypeVar("Model", bound="BaseModel")
Path_ = tuple[str | int, ...]


@dataclass
class Document:
    """A parsed file: its data and the position (line, column; from 1) of every key and value."""

    name: str
    data: Any
    keys: dict[Path_, tuple[int, int]] = field(default_factory=dict)
    values: dict[Path_, tuple[int, int]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def fault(
        self, path: Path_, what: str, *, suggestion: str | None = None, at_key: bool = False
    ) -> Fault:
        """Describe a mistake at a path, with the position of the nearest thing that has one."""
        known = path
        first, second = (self.keys, self.values) if at_key else (self.values, self.keys)
        while known and known not in first and known not in second:
            known = known[:-1]
        mark = first.get(known) or second.get(known)
        where = f"{self.name}:{mark[0]}:{mark[1]}" if mark else self.name
        source = None
        if mark and mark[0] <= len(self.lines):
            source = f"  | {self.lines[mark[0] - 1]}\n  | {' ' * (mark[1] - 1)}^"
        return Fault(where, ".".join(str(p) for p in path), what, suggestion, source)


def load_model(path: Path | str, model: type[Model]) -> Model:
    """Read a YAML or JSON file into a model.

    Raises:
        ConfigurationError: the file cannot be read, parsed or does not fit; lists every fault.
    """
    return parse_model(read_text(path), model, name=str(path))


def read_text(path: Path | str) -> str:
    """Read a configuration file, or raise a `ConfigurationError` that says why not."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError(
            f"cannot read the configuration file: {reason}",
            where=str(path),
            mend="give the path of a readable YAML or JSON file",
        ) from error


def parse_model(text: str, model: type[Model], *, name: str = "<text>") -> Model:
    """The same for text in memory; ``name`` stands in the positions of faults."""
    return validate_document(parse_document(text, name=name), model)


def parse_document(text: str, *, name: str) -> Document:
    """Parse YAML (or JSON, its subset) and remember where everything stands.

    Raises:
        ConfigurationError: the text is not YAML.
    """
    import yaml

    if name.endswith(".json"):
        text = text.replace("\t", " ")  # JSON may be indented with tabs, YAML may not
    lines = text.splitlines()
    try:
        loader = _safe_loader()(text)
        try:
            node = loader.get_single_node()
            document = Document(name, None, lines=lines)
            if node is not None:
                _walk(node, (), document)
                document.data = loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _syntax_error(error, name, lines) from error
    return document


@functools.cache
def _safe_loader() -> type[yaml.SafeLoader]:
    import yaml

    # libyaml's loader would be quicker, but its marks of flow collections differ; files are small.
    return yaml.SafeLoader


def _syntax_error(error: Exception, name: str, lines: list[str]) -> ConfigurationError:
    mark = getattr(error, "problem_mark", None)
    what = getattr(error, "problem", None) or str(error) or type(error).__name__
    document = Document(name, None, lines=lines)
    if mark is not None:
        document.values[()] = (mark.line + 1, mark.column + 1)
    return ConfigurationError(
        f"{name} is not valid YAML",
        mend="mend the syntax at the position shown",
        where=name,
        faults=(document.fault((), what),),
    )


def _walk(node: yaml.Node, path: Path_, document: Document) -> None:
    import yaml

    document.values[path] = (node.start_mark.line + 1, node.start_mark.column + 1)
    if len(document.values) > MAXIMUM_NODES:
        raise yaml.MarkedYAMLError(
            problem=f"more than {MAXIMUM_NODES} keys and values", problem_mark=node.start_mark
        )
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # PyYAML itself refuses it, with its position
            inner = (*path, str(key.value))
            document.keys[inner] = (key.start_mark.line + 1, key.start_mark.column + 1)
            if key.value in seen:
                document.faults.append(
                    document.fault(inner, f"the key {key.value!r} stands twice", at_key=True)
                )
            seen.add(str(key.value))
            _walk(value, inner, document)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(value, (*path, index), document)


def validate_document(document: Document, model: type[Model]) -> Model:
    """Fit a parsed document to a model, or raise a `ConfigurationError` with every fault."""
    from pydantic import ValidationError

    faults = list(document.faults)
    try:
        result = model.model_validate(document.data)
    except ValidationError as error:
        faults += _faults_of(error, document, model)
    else:
        if not faults:
            return result
    count = f"{len(faults)} mistake{'s' if len(faults) > 1 else ''}"
    raise ConfigurationError(
        f"{document.name} has {count}",
        where=document.name,
        mend=f"correct the places shown; {_what_is_allowed(model)}",
        faults=tuple(sorted(faults, key=_position)),
    )


def _what_is_allowed(model: type[BaseModel]) -> str:
    """Where to look it up; a model tells in ``schema_command`` which program prints its schema."""
    command = getattr(model, "schema_command", "")
    return f"`{command}` prints what is allowed" if command else "its reference lists every key"


def _position(fault: Fault) -> tuple[int, int]:
    try:
        _, line, column = fault.where.rsplit(":", 2)
        return int(line), int(column)
    except ValueError:
        return (0, 0)


def _faults_of(
    error: ValidationError, document: Document, model: type[BaseModel]
) -> Iterator[Fault]:
    items = error.errors(include_url=False)
    names = _names_of(model)
    paths = [_real_path(item["loc"], document.data, item["type"] == "missing") for item in items]
    meant = {
        (*path[:-1], _closest(str(path[-1]), names))
        for item, path in zip(items, paths, strict=True)
        if item["type"] == "extra_forbidden"
    }
    for item, path in zip(items, paths, strict=True):
        # A misspelled key is one mistake, not an unknown key and a missing one.
        if item["type"] != "missing" or path not in meant:
            yield _fault_of(item, path, document, names)


def _real_path(location: Sequence[str | int], data: Any, is_missing: bool) -> Path_:
    """Drop the parts of a pydantic location that are union tags or validators, not keys."""
    path: list[str | int] = []
    here: Any = data
    last = len(location) - 1
    for index, part in enumerate(location):
        if _leads_on(here, part):
            here = here[part]
        elif not (is_missing and index == last and isinstance(here, dict)):
            continue
        else:
            here = None
        path.append(part)
    return tuple(path)


def _leads_on(here: Any, part: str | int) -> bool:
    if isinstance(here, list):
        return isinstance(part, int) and part < len(here)
    return isinstance(here, dict) and part in here


def _fault_of(item: Any, path: Path_, document: Document, names: Iterable[str]) -> Fault:
    kind, context = item["type"], item.get("ctx", {})
    if kind == "extra_forbidden":
        unknown = str(path[-1])
        return document.fault(
            path, f"unknown key {unknown!r}", suggestion=_closest(unknown, names), at_key=True
        )
    if kind == "union_tag_invalid":
        tag = str(context["tag"])
        expected = [part.strip(" '") for part in str(context["expected_tags"]).split(",")]
        tag_path = (*path, str(context["discriminator"]).strip("'"))
        return document.fault(tag_path, f"unknown type {tag!r}", suggestion=_closest(tag, expected))
    if kind == "union_tag_not_found":
        return document.fault(path, f"the key {context['discriminator']!s} is missing")
    if kind == "missing":
        return document.fault(path[:-1], f"the key {str(path[-1])!r} is missing", at_key=True)
    if kind in {"literal_error", "enum"}:
        expected = [
            part.strip(" '") for part in str(context["expected"]).replace(" or ", ",").split(",")
        ]
        given = str(item["input"])
        return document.fault(
            path,
            f"{given!r} is not one of {', '.join(expected)}",
            suggestion=_closest(given, expected),
        )
    return document.fault(path, f"{_sentence(item['msg'])} (got {_short(item['input'])})")


def _sentence(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message[:1].lower() + message[1:] if not message[:2].isupper() else message


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _closest(word: str, names: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(word, list(names), n=1, cutoff=0.6)
    return found[0] if found else None


@functools.cache
def _names_of(model: type[BaseModel]) -> frozenset[str]:
    """Every property name that may stand anywhere in files of this model."""
    names: set[str] = set()

    def collect(schema: Any) -> None:
        if isinstance(schema, dict):
            names.update(schema.get("properties", {}))
            for part in schema.values():
                collect(part)
        elif isinstance(schema, list):
            for part in schema:
                collect(part)

    collect(model.model_json_schema())
    return frozenset(names)
