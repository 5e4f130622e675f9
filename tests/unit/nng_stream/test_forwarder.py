"""The moments at which something happens to a buffer, forced."""

from __future__ import annotations

import sys
import threading

from nng_stream.forwarder import Buffer
from nng_stream.settings import BufferSettings


def test_a_signal_may_come_between_any_two_lines(tmp_path):
    buffer = Buffer(BufferSettings(directory=tmp_path))

    def handle(_frame, _event, _argument):
        buffer.drain()
        return handle

    def serve():
        sys.settrace(handle)
        buffer.run()

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    serving.join(20)
    assert not serving.is_alive()
