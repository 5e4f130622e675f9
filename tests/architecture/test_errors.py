"""Every error of this project says what to do about it."""

from __future__ import annotations

import ast
import builtins
import importlib
import pickle
from pathlib import Path

from lclstreamer.core.errors import LCLStreamError

SYSEXITS = set(range(64, 79)) | {1}
BROAD_EXCEPTS_PER_1000_LINES = 0.5


def module_name(name: str) -> str:
    """The dotted name of a source file."""
    return (
        name.removeprefix("buffer/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    )


def error_classes(sources) -> dict[str, type[LCLStreamError]]:
    """Every subclass of the base, wherever it is defined; only defining modules are imported."""
    names = {"LCLStreamError"}
    while True:
        found = {
            node.name: source
            for source in sources
            for node in ast.walk(source.tree)
            if isinstance(node, ast.ClassDef)
            and any(isinstance(base, ast.Name) and base.id in names for base in node.bases)
        }
        if set(found) <= names:
            break
        names |= set(found)
    return {
        name: getattr(importlib.import_module(module_name(source.name)), name)
        for name, source in found.items()
    }


def raised(node: ast.Raise) -> tuple[str, ast.Call] | None:
    """The name and call of ``raise Name(...)``; None for ``raise`` and ``raise error``."""
    call = node.exc
    if not isinstance(call, ast.Call):
        return None
    function = call.func
    return (
        function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    ), call


def test_every_error_class_has_a_title_an_exit_code_and_survives_pickling(sources):
    classes = error_classes(sources)
    assert len(classes) >= 9
    for kind in classes.values():
        assert kind.exit_code in SYSEXITS, kind
        assert kind.title != LCLStreamError.title, kind
        assert (kind.__doc__ or "").strip(), kind
    plain = [kind for kind in classes.values() if "__init__" not in vars(kind)]
    for kind in plain:
        error = pickle.loads(pickle.dumps(kind("a problem", mend="a mend", where="here")))
        assert (error.problem, error.mend, error.where) == ("a problem", "a mend", "here")


def test_every_raise_of_ours_carries_a_mend(sources):
    ours = set(error_classes(sources))
    bare = [
        f"{source.name}:{node.lineno}"
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Raise) and (what := raised(node)) and what[0] in ours
        if not any(keyword.arg in {"mend", None} for keyword in what[1].keywords)
        and not _has_own_signature(what[0], sources)
    ]
    assert bare == []


def _has_own_signature(name: str, sources) -> bool:
    return "__init__" in vars(error_classes(sources)[name]) and name != "ConfigurationError"


PROTOCOL = {"StopIteration", "StopAsyncIteration", "AttributeError", "KeyboardInterrupt"}
"""Builtin exceptions that are Python's own way of speaking, not a message to a person."""


def caught_in(source) -> set[str]:
    """The names of the exceptions this file catches somewhere (to turn them into its own)."""
    handlers = [node for node in ast.walk(source.tree) if isinstance(node, ast.ExceptHandler)]
    types = [node.type for node in handlers if node.type is not None]
    return {name.id for kind in types for name in ast.walk(kind) if isinstance(name, ast.Name)}


def test_no_builtin_exception_leaves_the_module_that_raises_it(sources):
    ordinary = {name for name, kind in vars(builtins).items() if isinstance(kind, type)} - PROTOCOL
    guilty = []
    for source in sources:
        # pydantic catches the ValueErrors of validators; config_file.py locates them.
        allowed = caught_in(source) | ({"ValueError"} if "pydantic" in source.text else set())
        guilty += [
            f"{source.name}:{node.lineno}: {what[0]}"
            for node in ast.walk(source.tree)
            if isinstance(node, ast.Raise) and (what := raised(node))
            if what[0] in ordinary
            if not allowed & {base.__name__ for base in getattr(builtins, what[0]).__mro__}
        ]
    assert guilty == []


def test_broad_excepts_stand_at_process_edges_only(sources):
    broad = [
        f"{source.name}:{node.lineno}"
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and not _raises_on(node)
    ]
    lines = sum(source.text.count("\n") for source in sources)
    assert len(broad) <= max(1, BROAD_EXCEPTS_PER_1000_LINES * lines / 1000), broad


def _raises_on(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_no_exit_from_libraries(sources):
    guilty = [
        f"{source.name}:{node.lineno}"
        for source in sources
        if Path(source.name).name not in {"cli.py", "__main__.py"}
        for statement in source.tree.body
        if not ast.unparse(statement).startswith("if __name__ == '__main__'")
        for node in ast.walk(statement)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"sys.exit", "exit"}
    ]
    assert guilty == []
