import numpy as np
import pytest

from lclstreamer.core.events import Batch


@pytest.fixture
def make_batch():
    """Build a batch around some arrays; the first dimension of each is that of the events."""

    def build(data, *, run="exp=tstx00417,run=7", rank=2, sequence=5):
        count = len(next(iter(data.values())))
        ids = np.arange(count, dtype=np.uint64) + np.uint64(4776162079372773723)
        return Batch(data, ids, run, rank, sequence)

    return build


@pytest.fixture
def same_batch():
    """Compare a batch that was read with the one that was written, bit by bit."""

    def check(read, written, names=None):
        assert (read.run, read.rank, read.sequence) == (written.run, written.rank, written.sequence)
        assert read.event_ids.dtype == np.uint64
        np.testing.assert_array_equal(read.event_ids, written.event_ids)
        assert set(read.data) == set(written.data if names is None else names)
        for name, array in read.data.items():
            expected = written.data[name]
            assert array.shape == expected.shape, name
            if expected.dtype.kind == "U":
                assert array.tolist() == expected.tolist(), name
            else:
                assert array.dtype == expected.dtype, name
                assert array.tobytes() == expected.tobytes(), name

    return check
