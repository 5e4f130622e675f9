"""Mistakes are all reported at once, each at its place, with what was probably meant."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lclstreamer.core.errors import ConfigurationError
from lclstreamer.parameters.configuration import StreamerConfiguration, parse_configuration

FLAT = """\
source_identifier: exp=tmox42619,run=42
skip_incomplete_events: true
event_source:
  type: Psana2EventSource
data_sources:
  timestamp:
    type: Psana2Timestamp
  detector_data:
    type: Psana2DetectorInterface
    psana_name: jungfrau
    psana_fields: raw.raw
processing_pipeline:
  type: BatchProcessingPipeline
  batch_size: 10
data_serializer:
  type: Hdf5Serializer
  compression: zfp
  fields: {timestamp: /t}
data_handlers: []
"""

NESTED = """\
lclstreamer:
  source_identifier: exp=tmox42619,run=42
  skip_incomplete_events: true
  event_source: Psana2EventSource
  processing_pipeline: BatchProcessingPipeline
  data_serializer: Hdf5Serializer
  data_handlers: [BinaryFileWritingDataHandler]
event_source: {Psana2EventSource: {}}
processing_pipeline:
  BatchProcessingPipeline: {batch_size: 10}
data_serializer:
  HDF5BinarySerializer: {compression: zfp}
data_handlers:
  BinaryFileWritingDataHandler:
    write_directory: out
data_sources:
  frame: {type: Psana2AreaDetector, psana_name: jungfrau, calibration: true}
"""


def faults_of(text: str, *changes: tuple[str, str]) -> list[str]:
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(text, name="run.yaml")
    assert caught.value.exit_code == 78
    assert caught.value.mend
    return [str(fault) for fault in caught.value.faults]


def test_both_texts_are_right_as_they_stand():
    assert parse_configuration(FLAT).event_source == parse_configuration(NESTED).event_source


def test_four_mistakes_in_the_flat_form():
    assert faults_of(
        FLAT,
        ("Psana2Timestamp", "Psana2Timestam"),
        ("psana_name", "psana_nme"),
        ("batch_size: 10", "batch_size: 0"),
        ("zfp", "fzp"),
    ) == [
        "run.yaml:7:11: data_sources.timestamp.type: unknown type 'Psana2Timestam' "
        "(did you mean 'Psana2Timestamp'?)",
        "run.yaml:10:5: data_sources.detector_data.psana_nme: unknown key 'psana_nme' "
        "(did you mean 'psana_name'?)",
        "run.yaml:14:15: processing_pipeline.batch_size: input should be greater than or equal "
        "to 1 (got 0)",
        "run.yaml:17:16: data_serializer.compression: 'fzp' is not one of gzip, "
        "gzip_with_shuffle, bitshuffle_with_lz4, bitshuffle_with_zstd, zfp (did you mean 'zfp'?)",
    ]


def test_four_mistakes_in_the_papers_form():
    assert faults_of(
        NESTED,
        ("source: Psana2EventSource", "source: Psana2EventSorce"),
        ("batch_size: 10", "batch_size: -5"),
        ("write_directory", "write_direktory"),
        (", calibration: true", ""),
    ) == [
        "run.yaml:4:17: event_source.type: unknown type 'Psana2EventSorce' "
        "(did you mean 'Psana2EventSource'?)",
        "run.yaml:10:41: processing_pipeline.batch_size: input should be greater than or equal "
        "to 1 (got -5)",
        "run.yaml:15:5: data_handlers.0.write_direktory: unknown key 'write_direktory' "
        "(did you mean 'write_directory'?)",
        "run.yaml:17:10: data_sources.frame: the key 'calibration' is missing, which "
        "Psana2AreaDetector needs",
    ]


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        (("exp=tmox42619,run=42", "exp=tmox42619,rum=42"), "1:20", "did you mean 'run'"),
        (("exp=tmox42619,run=42", "exp=tmox42619"), "1:20", "needs its number"),
        (("exp=tmox42619,run=42", "live"), "1:20", "must name one of"),
        (("exp=tmox42619,run=42", "shmem=x"), "1:20", "shared memory"),
        (("run=42", "run=fortytwo"), "1:20", "whole number"),
        (("timestamp: /t", "timestam: /t"), "18:", "did you mean 'timestamp'"),
        (("true", "sometimes"), "2:25", "boolean"),
        (("raw.raw", "raw..raw"), "11:19", "names with dots"),
        (("raw.raw", "raw.__class__"), "11:19", "names with dots"),
        (("psana_fields: raw.raw", "psana_fields: []"), "11:19", "at least 1 item"),
        (("batch_size: 10", "batch_size: many"), "14:15", "integer"),
        (("batch_size: 10", "batch_size: true"), "14:15", "integer"),
        (("  type: BatchProcessingPipeline\n", ""), "13:3", "'type' is missing"),
        (("data_handlers: []", "data_handlers: {}"), "19:16", "tuple"),
        (("skip_incomplete_events: true\n", ""), "1:1", "'skip_incomplete_events' is missing"),
    ],
)
def test_single_mistakes(change, place, words):
    (fault,) = faults_of(FLAT, change)
    assert fault.startswith(f"run.yaml:{place}")
    assert words in fault


@pytest.mark.parametrize(
    ("change", "place", "words"),
    [
        (("{Psana2EventSource: {}}", "{Psana2EventSorce: {}}"), "8:16", "no class"),
        (("{Psana2EventSource: {}}", "[]"), "8:15", "one sub-section for each class"),
        (("  skip_incomplete", "  more: 1\n  skip_incomplete"), "3:3", "unknown key 'more'"),
        (("calibration: true", "calibration: 7"), "17:72", "must be true or false"),
        (
            ("  BatchProcessingPipeline: {batch_size: 10}", "  BatchProcessingPipeline:"),
            "10:3",
            "'batch_size' is missing",
        ),
    ],
)
def test_single_mistakes_in_the_papers_form(change, place, words):
    (fault,) = faults_of(NESTED, change)
    assert fault.startswith(f"run.yaml:{place}"), fault
    assert words in fault


SOURCE = "type: Psana2Timestamp"


@pytest.mark.parametrize(
    ("section", "what"),
    [
        ("{type: IntValue, value: 3.5}", "valid integer"),
        ("{type: ConstValue, value: -1, dtype: uint8}", "-1 does not fit dtype uint8"),
        ("{type: ConstValue, value: [1, 256], dtype: u1}", "256 does not fit dtype uint8"),
        ("{type: ConstValue, value: 6.4, dtype: int32}", "6.4 does not fit dtype int32"),
        ("{type: ConstValue, value: 2, dtype: bool}", "2 does not fit dtype bool"),
        ("{type: ConstValue, value: .inf, dtype: float32}", "finite number"),
        ("{type: ConstValue, value: 1, dtype: flaot32}", "did you mean 'float32'"),
        ("{type: GenericRandomNumpyArray, array_shape: '4,x', array_dtype: f4}", "tuple"),
        ("{type: GenericRandomNumpyArray, array_shape: 0, array_dtype: f4}", "greater than"),
        ("{type: GenericRandomNumpyArray, array_shape: -3, array_dtype: f4}", "greater than"),
        ("{type: GenericRandomNumpyArray, array_shape: [65536, 65536], array_dtype: f4}", "more"),
        ("{type: GenericRandomNumpyArray, array_shape: 4, array_dtype: c8}", "cannot be random"),
        ("{type: Hdf5Dataset, path: ''}", "at least 1 character"),
    ],
)
def test_mistakes_in_data_sources(section, what):
    faults = faults_of(
        FLAT.replace(SOURCE + "\n", "\n").replace("timestamp:\n", f"timestamp: {section}")
    )
    assert any(what in fault for fault in faults), faults


@pytest.mark.parametrize(
    "source",
    [
        "{type: InternalEventSource, number_of_events_to_generate: 0}",
        "{type: InternalEventSource, number_of_events_to_generate: -1}",
        "{type: InternalEventSource, number_of_events_to_generate: 5, events_per_second: 0}",
        "{type: InternalEventSource, number_of_events_to_generate: 5, seed: -1}",
        "{type: Psana2EventSource, batch_size: 0}",
        "{type: Psana2EventSource, live_timeout_seconds: 0}",
        "{type: Psana2EventSource, logbook_url: ftp://x}",
        "{type: Hdf5EventSource, event_id_dataset: ''}",
    ],
)
def test_every_number_of_an_event_source_has_a_bound(source):
    (fault,) = faults_of(
        FLAT.replace("event_source:\n  type: Psana2EventSource", f"event_source: {source}")
    )
    assert fault.startswith("run.yaml:3:")


def test_a_replay_must_name_files():
    text = FLAT.replace("Psana2EventSource", "Hdf5EventSource")
    (fault,) = faults_of(text, ("exp=tmox42619,run=42", '" , "'))
    assert "must name the HDF5 files" in fault


def test_a_dictionary_with_a_contradiction_is_refused_without_a_file():
    data = parse_configuration(FLAT).model_dump()
    data["data_serializer"]["fields"] = {"tim": "/t"}
    with pytest.raises(ValidationError, match="no data source named 'tim'"):
        StreamerConfiguration.model_validate(data)


def test_an_old_key_missing_from_a_dictionary_is_refused_without_a_file():
    import yaml

    data = yaml.safe_load(NESTED.replace(", calibration: true", ""))
    with pytest.raises(ValidationError, match="'calibration' is missing"):
        StreamerConfiguration.model_validate(data)


@pytest.mark.parametrize("text", ["", "[]", "just text", "lclstreamer: 5", "lclstreamer: {}"])
def test_something_else_entirely(text):
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(text)
    assert caught.value.faults
    assert "StreamerSections" not in caught.value.render()
