"""What the psana 2 source refuses before psana is even imported."""

from __future__ import annotations

import pytest

from lclstreamer.core.errors import BadInputError, ConfigurationError, MissingDependencyError
from lclstreamer.data_sources.base import Extractor
from lclstreamer.event_sources.base import SourceSetup
from lclstreamer.event_sources.psana1 import Psana1EventSource
from lclstreamer.event_sources.psana2 import Psana2EventSource
from lclstreamer.mpi import RankContext
from lclstreamer.parameters.event_sources import (
    Psana1EventSourceParameters,
    Psana2EventSourceParameters,
)

PARAMETERS = Psana2EventSourceParameters(type="Psana2EventSource")


def setup(identifier, context=None):
    return SourceSetup(identifier, Extractor({}, lambda _: None), context or RankContext())


@pytest.mark.parametrize(
    ("identifier", "needed"),
    [("exp=a,run=1", True), ("exp=a,run=1,dir=/x", True), ("files=a.xtc2", False)],
)
def test_only_a_run_with_smalldata_needs_a_communicator(identifier, needed):
    assert Psana2EventSource.needs_communicator(PARAMETERS, identifier) is needed


@pytest.mark.parametrize("size", [2])
def test_too_few_ranks(size):
    context = RankContext(0, size, "mpi4py", communicator="a communicator")
    with pytest.raises(ConfigurationError, match="with 2 ranks") as caught:
        Psana2EventSource(PARAMETERS, setup("exp=a,run=1", context))
    assert "at least 3" in caught.value.mend


@pytest.mark.parametrize("identifier", ["files=/no/such/file.xtc2", "exp=a,run=1,dir=/no/such"])
def test_what_is_not_there(identifier):
    with pytest.raises(BadInputError, match="there is no /no/such"):
        Psana2EventSource(PARAMETERS, setup(identifier))


def test_a_wrong_identifier():
    with pytest.raises(ConfigurationError, match="did you mean 'run'"):
        Psana2EventSource(PARAMETERS, setup("exp=a,rum=1"))


def test_psana_1_says_that_it_is_not_there_yet():
    parameters = Psana1EventSourceParameters(type="Psana1EventSource")
    with pytest.raises(MissingDependencyError, match="cannot be read yet") as caught:
        Psana1EventSource(parameters, setup("exp=xpptut15:run=430"))
    assert "Psana2EventSource" in caught.value.mend
