"""One error, three renderings."""

from __future__ import annotations

import pickle

from lclstreamer.core import errors
from lclstreamer.core.errors import ConfigurationError, Fault, LCLStreamError, UnavailableError


def test_the_terminal_sees_the_problem_the_place_and_the_mend():
    error = UnavailableError("no broker answers", mend="start one", where="kafka://h:1")
    assert error.render() == "unavailable: kafka://h:1: no broker answers\n  mend: start one"
    assert str(error) == "kafka://h:1: no broker answers. Mend: start one"


def test_a_machine_sees_a_problem_object():
    error = UnavailableError("no broker answers", mend="start one", where="kafka://h:1")
    assert error.to_problem() == {
        "type": "urn:lclstream:problem:UnavailableError",
        "title": "unavailable",
        "detail": "no broker answers",
        "mend": "start one",
        "transient": True,
        "exit_code": 69,
        "instance": "kafka://h:1",
    }


def test_faults_survive_a_process_border():
    fault = Fault("f:1:2", "a.b", "wrong", "right", "  | x")
    error = ConfigurationError("bad", mend="mend it", where="f", faults=(fault,))
    again = pickle.loads(pickle.dumps(error))
    assert again.faults == (fault,)
    assert again.render() == error.render()


def test_the_tree_in_the_module_is_the_tree():
    defined = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type)
        and issubclass(kind, LCLStreamError)
        and kind is not LCLStreamError
    }
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        words = line.split()
        if len(words) > 2 and words[0] in {"├─", "└─"}:
            drawn[words[1]] = (int(words[2]), "(transient)" in line)
    assert drawn == {name: (kind.exit_code, kind.transient) for name, kind in defined.items()}
