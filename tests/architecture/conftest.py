"""The source tree, parsed once."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGES = ("lclstreamer", "buffer/nng_stream", "airflow_provider_lclstream", "dags")


@dataclass(frozen=True)
class Source:
    """One source file: its path inside the repository, text and syntax tree."""

    name: str
    text: str
    tree: ast.Module

    def functions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Every function and method of the file."""
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
        return [node for node in ast.walk(self.tree) if isinstance(node, kinds)]


@pytest.fixture(scope="session")
def sources(repository: Path) -> list[Source]:
    """Every Python file of the packages and the DAGs."""
    found = []
    for package in PACKAGES:
        for path in sorted((repository / package).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            name = str(path.relative_to(repository))
            found.append(Source(name, text, ast.parse(text, filename=name)))
    assert len(found) > 40
    return found
