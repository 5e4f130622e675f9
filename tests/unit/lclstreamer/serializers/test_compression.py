import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lclstreamer.serializers.compression import LARGEST_CHUNK_BYTES, chunk_shape


@pytest.mark.parametrize(
    ("shape", "item_bytes", "chunk"),
    [
        ((1000,), 8, (1000,)),
        ((10, 20, 20), 4, (10, 20, 20)),
        ((10, 512, 1024), 2, (1, 512, 1024)),
        ((100, 256, 256), 4, (4, 256, 256)),
        ((4, 32, 512, 1024), 2, (1, 32, 512, 1024)),
        ((4, 32, 512, 1024), 8, (1, 1, 512, 1024)),
    ],
)
def test_chunks_hold_whole_events_of_about_a_mebibyte(shape, item_bytes, chunk):
    assert chunk_shape(shape, item_bytes) == chunk


shapes = st.lists(st.integers(1, 3000), min_size=1, max_size=6).map(tuple)


@given(shape=shapes, item_bytes=st.sampled_from([1, 2, 4, 8, 16]), limited=st.booleans())
def test_a_chunk_is_legal_whatever_the_shape(shape, item_bytes, limited):
    chunk = chunk_shape(shape, item_bytes, dimensions=3 if limited else None)
    assert len(chunk) == len(shape)
    assert all(1 <= part <= whole for part, whole in zip(chunk, shape, strict=True))
    assert item_bytes * math.prod(chunk) <= LARGEST_CHUNK_BYTES
    assert not limited or sum(side > 1 for side in chunk) <= 3
