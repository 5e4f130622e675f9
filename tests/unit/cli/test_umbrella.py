"""`lclstream`: the first word decides, and nothing is imported before it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from airflow_provider_lclstream import cli
from lclstreamer.core.errors import MissingDependencyError, UsageError


def test_help_lists_every_verb_in_one_line_each(capsys):
    assert cli.dispatch(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for word, verb in cli.VERBS.items():
        assert any(line.split()[:1] == [word] and verb.text in line for line in lines)
    assert max(map(len, lines)) < 100


def test_no_words_are_a_usage_error_with_help(capsys):
    assert cli.dispatch([]) == 64
    assert "usage:" in capsys.readouterr().out


@pytest.mark.parametrize(("word", "meant"), [("demmo", "demo"), ("pul", "pull"), ("psk", "psik")])
def test_an_unknown_verb_is_guessed(word, meant):
    with pytest.raises(UsageError) as caught:
        cli.dispatch([word])
    assert f"did you mean {meant!r}?" in caught.value.mend


def test_every_verb_can_be_loaded():
    for verb in cli.VERBS.values():
        assert callable(cli.load(verb.target))


def test_the_version_is_told(capsys):
    assert cli.dispatch(["--version"]) == 0
    assert capsys.readouterr().out.startswith("lclstream 0.")


def test_a_missing_package_is_named_with_its_mend(tmp_path, monkeypatch):
    (tmp_path / "tool_without_package.py").write_text("import no_such_package_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingDependencyError, match="no_such_package_at_all"):
        cli.load("tool_without_package:main")


def test_nothing_heavy_is_imported_before_the_word_is_known():
    code = (
        "import sys\n"
        "from airflow_provider_lclstream.cli import dispatch\n"
        "dispatch(['--help'])\n"
        "heavy = {'airflow', 'pydantic', 'typer', 'rich', 'numpy', 'httpx2', 'confluent_kafka',\n"
        "         'structlog', 'yaml', 'psana', 'h5py', 'zmq', 'difflib'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
