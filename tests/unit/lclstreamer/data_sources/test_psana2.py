"""How fields of detectors are found and called. The real detectors are in the integration tests."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from lclstreamer.core.errors import BadInputError, ConfigurationError
from lclstreamer.data_sources.base import RunFacts, Shot
from lclstreamer.data_sources.psana2 import (
    Psana2DetectorInterface,
    Psana2RunInfo,
    Psana2Timestamp,
)
from lclstreamer.parameters.data_sources import (
    Psana2DetectorInterfaceParameters,
    Psana2RunInfoParameters,
    Psana2TimestampParameters,
)


class Raw:
    """Answers in each of the ways that psana's detectors do."""

    gain = 3

    def raw(self, evt, copy=True):
        return None if evt is None else np.full((2, 2), evt, np.uint16)

    def image(self, evt, nda=None, **more):
        return self.raw(evt) * 2.0

    def geometry(self):
        return "a geometry"

    def thing(self, evt):
        return object()

    def info(self, evt):
        return SimpleNamespace(pulseId=evt + 1)

    def peaks(self, evt):
        return {0: {0: ([1], [np.array([evt])])}}

    def options(self, **more):
        return 5


class Run:
    expt, runnum, timestamp = "tmox42619", 42, 7
    detnames = {"jungfrau", "gmd"}
    epicsinfo = {("TMO:LENS:X", "epics"): ""}

    def Detector(self, name):
        if name == "jungfrau":
            return SimpleNamespace(raw=Raw(), _detid="id-1")
        if name == "TMO:LENS:X":
            return lambda evt: None if evt is None else 1.5
        raise KeyError(name)


def interface(name="jungfrau", fields=None, run=Run, **more):
    parameters = Psana2DetectorInterfaceParameters(
        type="Psana2DetectorInterface", psana_name=name, psana_fields=fields, **more
    )
    return Psana2DetectorInterface("det", parameters, RunFacts(psana_run=run() if run else None))


def get(fields, event=4, **more):
    return interface(fields=fields, **more).get(Shot(0, event))


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("raw.raw", np.full((2, 2), 4, np.uint16)),
        ("raw.image", np.full((2, 2), 8.0)),
        ("raw.gain", np.array(3)),
        ("raw.geometry", np.array("a geometry")),
        ("_detid", np.array("id-1")),
        ("raw.info.pulseId", np.array(5)),
        ("raw.TsData.pulseId", np.array(5)),
        ("raw.options", np.array(5)),
    ],
)
def test_fields_of_every_sort(field, expected):
    value = get(field)
    assert value.dtype == expected.dtype
    np.testing.assert_array_equal(value, expected)


def test_several_fields_are_several_arrays():
    assert set(get(["_detid", "raw.raw", "raw.peaks"])) == {
        "_detid", "raw.raw", "raw.peaks.0.0.starts", "raw.peaks.0.0.values",
        "raw.peaks.0.0.lengths",
    }  # fmt: skip


def test_one_field_with_parts_names_them():
    assert set(get("raw.peaks")) == {"0.0.starts", "0.0.values", "0.0.lengths"}


def test_an_absent_detector_is_none():
    assert get("raw.raw", event=None) is None
    assert get(["_detid", "raw.raw"], event=None) is None
    assert get(None, event=None, name="TMO:LENS:X") is None


def test_an_epics_variable():
    assert get(None, name="TMO:LENS:X") == 1.5


def test_conversion():
    assert get("raw.raw", dtype="float32").dtype == np.float32
    assert get(["raw.gain", "_detid"], dtype="str")["raw.gain"].dtype.kind == "U"
    assert get("raw.raw").dtype == np.uint16


def test_an_object_that_is_no_number_is_refused():
    with pytest.raises(BadInputError, match="an object of Python"):
        get("raw.thing")


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("jungfrou", "raw.raw", "did you mean 'jungfrau'"),
        ("SOMETHING:ELSE", None, "it has TMO:LENS:X, gmd, jungfrau"),
        ("jungfrau", "raw.rwa", "did you mean 'raw'"),
        ("jungfrau", "calib.raw", "it has raw"),
        ("jungfrau", None, "is a detector"),
    ],
)
def test_a_name_that_is_not_there_is_said_at_the_start(name, fields, words):
    with pytest.raises(ConfigurationError) as caught:
        interface(name, fields)
    assert words in caught.value.problem


def test_an_optional_detector_may_be_absent_from_the_whole_run():
    assert interface("nothing", "raw.raw", required=False).get(Shot(0, 4)) is None


def test_run_info_and_timestamp():
    info = Psana2RunInfo(
        "i", Psana2RunInfoParameters(type="Psana2RunInfo"), RunFacts("exp=…", psana_run=Run())
    )
    assert info.get(Shot(0)).tolist() == ["tmox42619", "7", "42", "exp=…"]
    stamp = Psana2Timestamp(
        "t", Psana2TimestampParameters(type="Psana2Timestamp"), RunFacts(psana_run=Run())
    )
    assert stamp.get(Shot(4776162079372773723)) == np.uint64(4776162079372773723)
    assert stamp.get(Shot(1)).dtype == np.uint64


def test_they_need_psana_events():
    with pytest.raises(ConfigurationError, match="needs events of psana 2"):
        interface(fields="raw.raw", run=None)
