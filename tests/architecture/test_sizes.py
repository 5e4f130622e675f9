"""Files and functions stay small enough to be read in one go."""

from __future__ import annotations

import ast
import statistics

FILE_LINES_LIMIT = 400
FILE_LINES_P95 = 300
FILE_LINES_MEDIAN = 110
FUNCTION_LINES_LIMIT = 60
FUNCTION_LINES_P95 = 35


def percentile(values: list[int], share: float) -> int:
    """The value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function from its ``def`` on, without its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_no_file_is_longer_than_the_limit(sources):
    lengths = {source.name: source.text.count("\n") for source in sources}
    assert {n: v for n, v in lengths.items() if v > FILE_LINES_LIMIT} == {}


def test_files_are_short_as_a_rule(sources):
    lengths = [source.text.count("\n") for source in sources if source.text.strip()]
    assert percentile(lengths, 0.95) <= FILE_LINES_P95
    assert statistics.median(lengths) <= FILE_LINES_MEDIAN


def test_no_function_is_longer_than_the_limit(sources):
    lengths = {
        f"{source.name}:{node.lineno} {node.name}": function_lines(node)
        for source in sources
        for node in source.functions()
    }
    assert {n: v for n, v in lengths.items() if v > FUNCTION_LINES_LIMIT} == {}


def test_functions_are_short_as_a_rule(sources):
    lengths = [function_lines(node) for source in sources for node in source.functions()]
    assert percentile(lengths, 0.95) <= FUNCTION_LINES_P95
