"""Configuration files: every fault at once, each where it stands."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator

from lclstreamer.core import config_file
from lclstreamer.core.config_file import load_model, parse_model
from lclstreamer.core.errors import ConfigurationError


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Area(Strict):
    type: Literal["Area"]
    psana_name: str


class Random(Strict):
    type: Literal["Random"]
    shape: list[int]


class Settings(Strict):
    ranks: int = Field(ge=1, le=100)
    mode: Literal["fast", "careful"] = "fast"
    data_sources: dict[str, Annotated[Area | Random, Field(discriminator="type")]] = {}

    @field_validator("ranks")
    @classmethod
    def no_thirteen(cls, value: int) -> int:
        if value == 13:
            raise ValueError("13 ranks are refused")
        return value


GOOD = "ranks: 2\ndata_sources:\n  a: {type: Random, shape: [2, 3]}\n"
BAD = """\
ranks: 0
mod: fast
data_sources:
  detector:
    type: Aera
  noise:
    type: Random
    shape: [1, x]
    shap: 3
"""


def faults(text: str, name: str = "f.yaml") -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse_model(text, Settings, name=name)
    assert caught.value.exit_code == 78
    return [str(fault) for fault in caught.value.faults]


def test_a_good_file_becomes_a_model(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    assert load_model(path, Settings).data_sources["a"] == Random(type="Random", shape=[2, 3])


def test_every_fault_is_reported_at_its_place_with_a_suggestion():
    assert faults(BAD) == [
        "f.yaml:1:8: ranks: input should be greater than or equal to 1 (got 0)",
        "f.yaml:2:1: mod: unknown key 'mod' (did you mean 'mode'?)",
        "f.yaml:5:11: data_sources.detector.type: unknown type 'Aera' (did you mean 'Area'?)",
        "f.yaml:8:16: data_sources.noise.shape.1: input should be a valid integer, unable to parse "
        "string as an integer (got 'x')",
        "f.yaml:9:5: data_sources.noise.shap: unknown key 'shap' (did you mean 'shape'?)",
    ]


def test_the_rendering_shows_the_line_with_a_caret_and_one_mend():
    with pytest.raises(ConfigurationError) as caught:
        parse_model(BAD, Settings, name="f.yaml")
    text = caught.value.render()
    assert "  | mod: fast\n  | ^\n" in text
    assert "  |     type: Aera\n  |           ^\n" in text
    assert text.count("mend:") == 1
    assert text.startswith("configuration error: f.yaml has 5 mistakes\n")
    assert len(caught.value.to_problem()["errors"]) == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mode: fast\n", "f.yaml:1:1: the key 'ranks' is missing"),
        ("ranks: 13\n", "f.yaml:1:8: ranks: 13 ranks are refused (got 13)"),
        ("ranks: 1\nranks: 2\n", "f.yaml:2:1: ranks: the key 'ranks' stands twice"),
        (
            "ranks: 1\nmode: carefull\n",
            "f.yaml:2:7: mode: 'carefull' is not one of fast, careful (did you mean 'careful'?)",
        ),
        (
            "ranks: 1\ndata_sources: {a: {psana_name: x}}\n",
            "f.yaml:2:19: data_sources.a: the key 'type' is missing",
        ),
        (
            "ranks: 1\ndata_sources: {a: {type: Area}}\n",
            "f.yaml:2:16: data_sources.a: the key 'psana_name' is missing",
        ),
    ],
)
def test_each_kind_of_mistake_has_its_sentence(text, expected):
    assert faults(text) == [expected]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("ranks: [1\n", "f.yaml:2:1"),
        ("ranks: 1\n\tmode: fast\n", "f.yaml:2:1"),
        ("? [1, 2]\n: x\n", "f.yaml:1:3"),
        ("ranks: 1\n---\nranks: 2\n", "f.yaml:2:1"),
        ("ranks: !!python/object/apply:os.getcwd []\n", "f.yaml:1:8"),
        ("a: &a [*a]\n", "f.yaml"),
    ],
)
def test_text_that_is_not_plain_yaml_is_refused_where_it_breaks(text, where):
    assert faults(text)[0].startswith(f"{where}")


def test_aliases_cannot_unfold_without_bound(monkeypatch):
    monkeypatch.setattr(config_file, "MAXIMUM_NODES", 1000)
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
    bomb += "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
    assert "more than 1000 keys and values" in faults(bomb)[0]


def test_an_empty_file_and_a_list_are_mistakes_not_crashes():
    assert len(faults("")) == 1
    assert len(faults("- 1\n- 2\n")) == 1


def test_json_may_be_indented_with_tabs_and_keeps_its_positions():
    assert parse_model('{\n\t"ranks": 3\n}', Settings, name="f.json").ranks == 3
    assert faults('{\n\t"ranks": 0\n}', name="f.json")[0].startswith("f.json:2:11: ranks:")


@pytest.mark.parametrize(
    "make", [lambda p: None, lambda p: p.mkdir(), lambda p: p.write_bytes(b"\xff\xfe\xfa")]
)
def test_an_unreadable_file_says_which_and_why(tmp_path, make):
    path = tmp_path / "config.yaml"
    make(path)
    with pytest.raises(ConfigurationError) as caught:
        load_model(path, Settings)
    assert caught.value.where == str(path)
    assert "cannot read the configuration file" in caught.value.problem


def test_it_is_told_which_program_prints_what_is_allowed():
    class Printed(Strict):
        schema_command: ClassVar[str] = "some-program schema"

    for model, mend in (
        (Printed, "correct the places shown; `some-program schema` prints what is allowed"),
        (Settings, "correct the places shown; its reference lists every key"),
    ):
        with pytest.raises(ConfigurationError) as raised:
            parse_model("unknown: 1\n", model, name="f.yaml")
        assert raised.value.mend == mend
