"""How a command ends: an exit code, a mend, never a traceback."""

from __future__ import annotations

import json
import sys

import pytest

from lclstreamer.core.errors import OutputError
from lclstreamer.core.output import print_json, report_error, run_command


def broken() -> None:
    raise OutputError("the folder cannot be written", mend="choose another", where="/data")


def test_an_expected_error_is_rendered_for_people(capsys):
    assert run_command(broken, as_json=False) == 73
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "cannot write: /data: the folder cannot be written\n  mend: choose another\n"


def test_and_for_machines(capsys):
    assert run_command(broken, as_json=True) == 73
    assert json.loads(capsys.readouterr().out)["error"]["mend"] == "choose another"


def test_an_unexpected_error_names_the_way_to_its_details(capsys, monkeypatch):
    monkeypatch.delenv("LCLSTREAM_DEBUG", raising=False)
    assert run_command(lambda: {}["missing"], as_json=False) == 70
    err = capsys.readouterr().err
    assert "KeyError" in err
    assert "LCLSTREAM_DEBUG=1" in err
    assert "Traceback" not in err
    monkeypatch.setenv("LCLSTREAM_DEBUG", "1")
    with pytest.raises(KeyError):
        run_command(lambda: {}["missing"], as_json=False)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (PermissionError(13, "Permission denied", "/a/b"), 77, "/a/b: Permission denied"),
        (OSError(30, "Read-only file system", "/a/b"), 77, "/a/b: Read-only file system"),
        (OSError(116, "Stale file handle"), 69, "unavailable: Stale file handle"),
    ],
)
def test_what_the_system_refuses_is_no_bug_of_ours(capsys, monkeypatch, error, code, text):
    monkeypatch.delenv("LCLSTREAM_DEBUG", raising=False)

    def fail():
        raise error

    assert run_command(fail, as_json=False) == code
    err = capsys.readouterr().err
    assert text in err
    assert "bug" not in err


@pytest.mark.parametrize(
    ("package", "extra"), [("fastapi", "api"), ("h5py", "streamer"), ("no_such", "demo")]
)
def test_a_package_that_is_missing_is_named_with_its_extra(capsys, package, extra):
    def needs_it() -> None:
        raise ModuleNotFoundError(name=f"{package}.part")

    assert run_command(needs_it, as_json=False) == 69
    assert f"{package!r} is not installed" in (err := capsys.readouterr().err)
    assert f"[{extra}]'" in err


def test_a_missing_module_of_ours_is_a_fault(capsys):
    def broken_package() -> None:
        raise ModuleNotFoundError("No module", name="lclstreamer.gone")

    assert run_command(broken_package, as_json=False) == 70


def test_the_command_decides_the_exit_code():
    assert run_command(lambda: None, as_json=False) == 0
    assert run_command(lambda: 74, as_json=False) == 74


def test_interruption_is_not_an_error(capsys):
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert run_command(interrupted, as_json=False) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_reader_that_leaves_is_not_an_error(processes):
    program = (
        "import sys; from lclstreamer.core.output import *\n"
        "sys.exit(run_command(lambda: [print_json(i) for i in range(10**5)] and None))"
    )
    pipe = ["bash", "-o", "pipefail", "-c", '"$0" -c "$1" | head -1', sys.executable, program]
    ended = processes.run(pipe)
    assert ended.stdout == "0\n"
    assert ended.stderr == ""
    assert ended.process.returncode == 141


def test_json_goes_out_on_one_line(capsys):
    print_json({"a": [1, 2], "b": None})
    assert capsys.readouterr().out == '{"a": [1, 2], "b": null}\n'


def test_report_error_gives_the_exit_code():
    assert report_error(OutputError("x", mend="y")) == 73
