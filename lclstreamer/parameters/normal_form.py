"""One form for every way to write a configuration: flat, with canonical class names.

The paper nests class names under ``lclstreamer:`` and gives each class a sub-section; upstream's
code of today is flat with ``type:``. Positions move along with what they belong to, so that a
fault still points into the file as it was written.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from lclstreamer.core.config_file import Document, Path_
from lclstreamer.parameters.aliases import OLD_DETECTORS, OldDetector, canonical_type

SECTIONS = ("event_source", "processing_pipeline", "data_serializer", "data_handlers")
"""The sections that the paper's form splits into a name and a sub-section."""


def normalise(document: Document, classes: Mapping[str, frozenset[str]]) -> Document:
    """Bring a parsed configuration into the flat form, in place or as a new document.

    Args:
        document: what was read; mistakes are added to its faults.
        classes: the canonical class names that each section may hold.
    """
    if isinstance(document.data, dict) and "lclstreamer" in document.data:
        document = _Flattening(document, classes).result
    for path, entry in _entries(document.data):
        _canonicalise(document, path, entry)
    return document


class _Flattening:
    """Turns the paper's nested form into the flat one."""

    def __init__(self, nested: Document, classes: Mapping[str, frozenset[str]]) -> None:
        self.nested, self.classes = nested, classes
        self.result = Document(nested.name, {}, lines=nested.lines, faults=[*nested.faults])
        head = nested.data["lclstreamer"]
        self._copy_positions((), ())
        if not isinstance(head, dict):
            self._fault(("lclstreamer",), "must name the classes, e.g. 'event_source: …'")
            head = {}
        for key, value in nested.data.items():
            if key not in ("lclstreamer", *SECTIONS):
                self.result.data[key] = value
        for key, value in head.items():
            self._place(key, value)
        for section in SECTIONS:
            self._check_unused(section)

    def _fault(self, path: Path_, what: str, suggestion: str | None = None) -> None:
        fault = self.nested.fault(path, what, suggestion=suggestion, at_key=suggestion is not None)
        self.result.faults.append(fault)

    def _copy_positions(self, old: Path_, new: Path_) -> None:
        for table, moved in (
            (self.nested.keys, self.result.keys),
            (self.nested.values, self.result.values),
        ):
            for path, mark in table.items():
                if path[: len(old)] == old:
                    moved[(*new, *path[len(old) :])] = mark

    def _place(self, key: str, value: Any) -> None:
        head = ("lclstreamer", key)
        if key == "data_handlers" and isinstance(value, list):
            self._copy_positions(head, (key,))
            self.result.data[key] = [
                self._entry(key, (*head, index), name, (key, index))
                for index, name in enumerate(value)
            ]
        elif key in SECTIONS and isinstance(value, str):
            self.result.data[key] = self._entry(key, head, value, (key,))
        else:
            self._copy_positions(head, (key,))
            self.result.data[key] = value

    def _entry(self, section: str, named_at: Path_, name: Any, new: Path_) -> Any:
        subsections = self._subsections(section)
        found = [
            key for key in subsections if canonical_type(str(key)) == canonical_type(str(name))
        ]
        self._copy_positions(named_at, new)
        self._copy_positions(named_at, (*new, "type"))
        if not found:
            return {"type": name}
        self._copy_positions((section, str(found[0])), new)
        parameters = subsections[found[0]]
        if parameters is None:
            parameters = {}
        return {**parameters, "type": name} if isinstance(parameters, dict) else parameters

    def _subsections(self, section: str) -> dict[Any, Any]:
        subsections = self.nested.data.get(section)
        return subsections if isinstance(subsections, dict) else {}

    def _check_unused(self, section: str) -> None:
        given = self.nested.data.get(section)
        if given is not None and not isinstance(given, dict):
            self._fault((section,), "must hold one sub-section for each class")
        for key in self._subsections(section):
            if canonical_type(str(key)) not in self.classes[section]:
                names = difflib.get_close_matches(str(key), self.classes[section], n=1)
                what = f"there is no class {str(key)!r}"
                self._fault((section, str(key)), what, names[0] if names else None)


def _entries(data: Any) -> Iterator[tuple[Path_, dict[str, Any]]]:
    """Everything in a flat configuration that has a ``type``."""
    if not isinstance(data, dict):
        return
    for section in (*SECTIONS, "data_sources"):
        given = data.get(section)
        within: list[tuple[Path_, Any]] = [((section,), given)]
        if section == "data_sources" and isinstance(given, dict):
            within = [((section, str(name)), entry) for name, entry in given.items()]
        elif isinstance(given, list):
            within = [((section, index), entry) for index, entry in enumerate(given)]
        for path, entry in within:
            if isinstance(entry, dict) and isinstance(entry.get("type"), str):
                yield path, entry


def _canonicalise(document: Document, path: Path_, entry: dict[str, Any]) -> None:
    old = OLD_DETECTORS.get(entry["type"])
    if old is not None:
        _modernise(document, path, entry, old)
    entry["type"] = canonical_type(entry["type"])


def _modernise(document: Document, path: Path_, entry: dict[str, Any], old: OldDetector) -> None:
    if old.name is not None:
        entry.setdefault("psana_name", old.name)
    if old.fields is not None:
        entry.setdefault("psana_fields", old.fields)
    elif old.calibration is not None:
        wanted = _take(document, path, entry, "calibration")
        if isinstance(wanted, bool):
            entry["psana_fields"] = old.calibration[wanted]
        elif wanted is not None:
            document.faults.append(
                document.fault((*path, "psana_fields"), "calibration must be true or false")
            )
    elif old.prefix is not None:
        function = _take(
            document, path, entry, "psana_function", is_optional=old.is_function_optional
        )
        if function is not None:
            entry["psana_fields"] = f"{old.prefix}{function}"


def _take(
    document: Document,
    path: Path_,
    entry: dict[str, Any],
    key: str,
    *,
    is_optional: bool = False,
) -> Any:
    """Remove an old key; its position goes to the key that replaces it."""
    for table in (document.keys, document.values):
        if (*path, key) in table:
            table[(*path, "psana_fields")] = table.pop((*path, key))
    if key not in entry and not is_optional and "psana_fields" not in entry:
        what = f"the key {key!r} is missing, which {entry['type']} needs"
        document.faults.append(document.fault(path, what))
    return entry.pop(key, None)
