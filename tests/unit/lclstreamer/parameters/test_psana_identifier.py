"""The source identifier of psana 2, in upstream's words."""

from __future__ import annotations

import pytest

from lclstreamer.parameters.psana_identifier import PsanaIdentifier, read_psana_identifier


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("exp=tmox42619,run=42", PsanaIdentifier("tmox42619", 42)),
        (" exp=tmox42619 , run=42 ,", PsanaIdentifier("tmox42619", 42)),
        ("exp=a,run=1,dir=/x/y", PsanaIdentifier("a", 1, directory="/x/y")),
        ("exp=a,run=1,live", PsanaIdentifier("a", 1, is_live=True)),
        ("exp=a,run=1,ffb,live", PsanaIdentifier("a", 1, is_live=True, is_fast_feedback=True)),
        ("exp=a,run=1,max_events=10", PsanaIdentifier("a", 1, max_events=10)),
        ("files=/x/a.xtc2", PsanaIdentifier(files=("/x/a.xtc2",))),
        ("files=a.xtc2; b.xtc2", PsanaIdentifier(files=("a.xtc2", "b.xtc2"))),
        ("drp=name", PsanaIdentifier(drp="name")),
    ],
)
def test_what_upstream_accepts(text, identifier):
    assert read_psana_identifier(text) == (identifier, [])


@pytest.mark.parametrize(
    ("text", "mistakes"),
    [
        ("", ["must name one of"]),
        ("exp=a", ["needs its number"]),
        ("exp=a,run=1,files=x", ["must name one of"]),
        ("exp=a,run=-1", ["whole number"]),
        ("exp=a,run=", ["needs a value"]),
        ("exp=a,run=1,live=yes", ["does not know 'live'"]),
        ("expp=a,rnu=1", ["did you mean 'exp'", "did you mean 'run'"]),
        ("shmem=tmo", ["not offered"]),
        ("exp=a:run=1", ["needs its number"]),
    ],
)
def test_every_mistake_is_named(text, mistakes):
    found = read_psana_identifier(text)[1]
    assert len(found) == len(mistakes)
    for mistake, words in zip(found, mistakes, strict=True):
        assert words in mistake
