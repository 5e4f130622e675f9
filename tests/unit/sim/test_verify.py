"""The proof of exactly once is made from the messages themselves."""

from __future__ import annotations

import numpy as np
import pytest

from airflow_provider_lclstream.sim.verify import read_arrivals
from lclstreamer.core.errors import BadInputError
from lclstreamer.core.events import Batch
from lclstreamer.parameters.serializers import Hdf5SerializerParameters
from lclstreamer.serializers.hdf5 import Hdf5Serializer


def write(path, ids: list[int]) -> None:
    parameters = Hdf5SerializerParameters(type="Hdf5Serializer", fields={"image": "/data/image"})
    images = np.zeros((len(ids), 8, 8), np.uint16)
    batch = Batch({"image": images}, np.array(ids, np.uint64), "run", 0, 0)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(Hdf5Serializer(parameters).serialize(batch).payload)


def test_losses_repeats_and_strangers_are_told_apart(tmp_path):
    big = 4776162079372773723
    write(tmp_path / "a" / "0.h5", [big, big + 1])
    write(tmp_path / "b" / "0.h5", [big + 1, 7])
    arrivals = read_arrivals(sorted(tmp_path.glob("*/*.h5")))
    expected = [big, big + 1, big + 2]
    assert arrivals.delivered == 3
    assert arrivals.lost(expected) == 1
    assert arrivals.duplicated == 1
    assert arrivals.foreign(expected) == 1
    assert arrivals.per_consumer == {"a": 2, "b": 2}
    assert arrivals.messages == 2


def test_a_damaged_message_is_named(tmp_path):
    path = tmp_path / "a" / "0.h5"
    write(path, [1, 2])
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(BadInputError) as caught:
        read_arrivals([path])
    assert caught.value.where == str(path)
