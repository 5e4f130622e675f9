from pydantic import TypeAdapter

from lclstreamer.parameters.consistency import find_misfits
from lclstreamer.parameters.handlers import DataHandlerParameters
from lclstreamer.parameters.pipelines import ProcessingPipelineParameters
from lclstreamer.parameters.serializers import DataSerializerParameters

BATCH = {"type": "BatchProcessingPipeline", "batch_size": 10}
HDF5 = {"type": "Hdf5Serializer"}
NAMES = ("timestamp", "detector_data", "random")


def misfits(names=NAMES, pipeline=BATCH, serializer=HDF5, handlers=()):
    return find_misfits(
        names,
        TypeAdapter(ProcessingPipelineParameters).validate_python(pipeline),
        TypeAdapter(DataSerializerParameters).validate_python(serializer),
        TypeAdapter(list[DataHandlerParameters]).validate_python(list(handlers)),
    )


def test_what_fits_has_no_misfits():
    assert misfits() == []
    assert misfits(serializer={**HDF5, "fields": {"random": "/r"}}) == []  # the rest is left out
    assert misfits(serializer={**HDF5, "fields": {"detector_data.raw.calib": "/c"}}) == []


def test_a_misspelt_field_is_found_with_what_was_meant():
    (misfit,) = misfits(serializer={**HDF5, "fields": {"detector_dta": "/d", "random": "/r"}})
    assert misfit.path == ("data_serializer", "fields", "detector_dta")
    assert misfit.suggestion == "detector_data"
    assert "no data source named 'detector_dta'" in misfit.what


def test_a_misspelt_image_is_found():
    peaknet = {
        "type": "PeaknetPreprocessingPipeline", "batch_size": 1, "target_height": 9,
        "target_width": 9, "images": ["random", "detecter_data"],
    }  # fmt: skip
    (misfit,) = misfits(pipeline=peaknet)
    assert misfit.path == ("processing_pipeline", "images", 1)
    assert misfit.suggestion == "detector_data"


def test_crystfel_messages_need_batches_of_one():
    msgpack = {"type": "MsgpackBinarySerializer"}
    (misfit,) = misfits(serializer=msgpack)
    assert misfit.path == ("processing_pipeline", "batch_size")
    assert misfits(serializer=msgpack, pipeline={**BATCH, "batch_size": 1}) == []
    assert misfits(serializer=msgpack, pipeline={"type": "NoOpProcessingPipeline"}) == []


def test_a_data_source_named_as_the_message_names_its_own_is_found():
    names = ("event_id", "image")
    npz = {"type": "NumpyBinarySerializer"}
    (misfit,) = misfits(names, serializer=npz)
    assert misfit.path == ("data_sources", "event_id")
    assert misfits(names, serializer={**npz, "fields": {"event_id": "id", "image": "i"}}) == []
    assert misfits(names) == []
    assert [m.path for m in misfits(("LCLS",))] == [("data_sources", "LCLS")]


def test_two_handlers_that_write_the_same_files_are_found():
    files = {"type": "BinaryFileWritingDataHandler"}
    (misfit,) = misfits(handlers=[{**files, "file_prefix": "a"}, {**files, "file_prefix": "a_"}])
    assert misfit.path == ("data_handlers", 1)
    assert misfits(handlers=[files, {**files, "file_prefix": "copy"}]) == []


def test_simplon_needs_its_data_sources():
    simplon = {
        "type": "SimplonBinarySerializer", "data_source_to_serialize": "detector_data",
        "polarization_fraction": 0.99, "polarization_axis": [0, 1, 0],
        "data_collection_rate": "120Hz", "detector_name": "j", "detector_type": "j",
    }  # fmt: skip
    found = misfits(serializer=simplon)
    assert [m.path for m in found] == [("data_sources",)] * 2
    assert "detector_geometry" in found[0].what
    assert "run_info" in found[1].what
