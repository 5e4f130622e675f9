"""Every way to write a configuration leads to the same model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lclstreamer.core.errors import ConfigurationError
from lclstreamer.parameters.configuration import (
    CLASSES,
    StreamerConfiguration,
    load_configuration,
    parse_configuration,
)

CONFIGURATIONS = Path(__file__).parent / "configurations"
ALL = sorted(path.name for path in CONFIGURATIONS.iterdir())


def load(name: str) -> StreamerConfiguration:
    return load_configuration(CONFIGURATIONS / name)


@pytest.mark.parametrize("name", ALL)
def test_every_form_parses(name):
    configuration = load(name)
    assert configuration.event_source.type in CLASSES["event_source"]


@pytest.mark.parametrize("name", ALL)
def test_what_was_parsed_can_be_written_and_parsed_again(name):
    configuration = load(name)
    assert parse_configuration(configuration.model_dump_json()) == configuration


@pytest.mark.parametrize("name", ALL)
def test_the_model_takes_every_form_by_itself(name):
    # The API and Airflow validate dictionaries, without a file and its positions.
    data = yaml.safe_load((CONFIGURATIONS / name).read_text())
    before = json.dumps(data)
    assert StreamerConfiguration.model_validate(data) == load(name)
    assert json.dumps(data) == before, "the caller's data must stay as it was"


def test_the_papers_form():
    configuration = load("paper.yaml")
    assert configuration.source_identifier == "exp=xpptut15:run=430"
    assert configuration.skip_incomplete_events is False
    assert configuration.event_source.type == "Psana1EventSource"
    assert configuration.processing_pipeline.model_dump() == {
        "type": "BatchProcessingPipeline", "batch_size": 10,
    }  # fmt: skip
    assert configuration.data_serializer.type == "Hdf5Serializer"
    assert configuration.data_serializer.compression == "zfp"
    assert [handler.type for handler in configuration.data_handlers] == [
        "BinaryFileWritingDataHandler", "BinaryDataStreamingDataHandler",
    ]  # fmt: skip
    assert configuration.data_handlers[1].library == "nng"
    detector = configuration.data_sources["detector_data"]
    assert (detector.type, detector.psana_fields) == ("Psana1DetectorInterface", ("calib",))


OLD_DETECTORS = {
    "image": ("Psana2DetectorInterface", "jungfrau", ("raw.image",)),
    "raw": ("Psana2DetectorInterface", "jungfrau", ("raw.raw",)),
    "camera": ("Psana2DetectorInterface", "tmo_fzppiranha", ("raw.raw",)),
    "energy": ("Psana2DetectorInterface", "ebeam", ("raw.ebeamL3Energy",)),
    "pulse_energy": ("Psana2DetectorInterface", "gmd", ("raw.milliJoulesPerPulse",)),
    "peaks": ("Psana2DetectorInterface", "mrco_hsd", ("raw.peaks",)),
    "wavelength": ("Psana2DetectorInterface", "SIOC:SYS0:ML00:AO192", None),
    "codes": ("Psana1DetectorInterface", "evr0", ("eventCodes",)),
    "diode": ("Psana1DetectorInterface", "XppEnds_Ipm0", ("channel",)),
    "total": ("Psana1DetectorInterface", "XPP-SB2-BMMON", ("get.TotalIntensity",)),
    "encoder": ("Psana1DetectorInterface", "XPP-USB-ENCODER-02", ("values",)),
    "assembled": ("Psana1DetectorInterface", "epix10k2M", ("image",)),
    "delay": ("Psana1DetectorInterface", "XPP:TIMETOOL:FLTPOS", None),
}


@pytest.mark.parametrize("name", OLD_DETECTORS)
def test_detector_classes_of_2025(name):
    detector = load("nested_2025.yaml").data_sources[name]
    assert (detector.type, detector.psana_name, detector.psana_fields) == OLD_DETECTORS[name]


def test_a_handler_that_is_configured_but_not_named_is_not_used():
    handlers = load("nested_2025.yaml").data_handlers
    assert [handler.type for handler in handlers] == ["BinaryDataStreamingDataHandler"]


def test_values_and_shapes_as_upstream_writes_them():
    sources = load("flat_2026.yaml").data_sources
    assert sources["random"].array_shape == (32,)
    assert sources["frame"].array_shape == (20, 2)
    assert (sources["four"].array_shape, sources["four"].array_dtype) == ((4,), "int16")
    assert sources["three"].value == (6, 3, 1)
    assert sources["single"].value == 6
    assert sources["two"].value == (6, 1)
    assert sources["old_float"].value == 4.0


def test_psana_fields_are_one_or_several():
    sources = load("flat_psana2.yaml").data_sources
    assert sources["raw"].psana_fields == ("raw.raw",)
    assert sources["geometry"].psana_fields == ("_detid", "raw._det_geotxt_default")


def test_the_schema_describes_every_key():
    schema = StreamerConfiguration.model_json_schema()
    undescribed = [
        f"{name}.{key}"
        for name, model in [("", schema), *schema["$defs"].items()]
        for key, facts in model["properties"].items()
        if key != "type" and not facts.get("description")
    ]
    assert undescribed == []


def test_a_configuration_in_a_class_of_another_distribution(monkeypatch):
    from importlib.metadata import EntryPoint

    from lclstreamer.parameters import third_party

    entry = EntryPoint("BatchCutter", "cutter_for_tests:BatchCutter", "lclstreamer.pipelines")
    import sys
    import types

    from lclstreamer.parameters.base import StrictModel

    class CutterParameters(StrictModel):
        type: str
        knife_length_mm: float

    module = types.ModuleType("cutter_for_tests")
    module.BatchCutter = type("BatchCutter", (), {"parameters_model": CutterParameters})
    monkeypatch.setitem(sys.modules, "cutter_for_tests", module)
    monkeypatch.setattr(
        third_party,
        "installed_kinds",
        lambda kind: {entry.name: entry} if kind == "pipeline" else {},
    )
    data = json.loads((CONFIGURATIONS / "request.json").read_text())
    data["processing_pipeline"] = {"type": "BatchCutter", "knife_length_mm": 12.5}
    assert parse_configuration(json.dumps(data)).processing_pipeline.knife_length_mm == 12.5
    data["processing_pipeline"] = {"type": "BatchCutter", "knife": 12.5}
    with pytest.raises(ConfigurationError, match="2 mistakes"):
        parse_configuration(json.dumps(data))
