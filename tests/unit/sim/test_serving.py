"""The simulated services end whenever they are told to."""

from __future__ import annotations

import signal
import sys
import threading
from functools import partial

import pytest

from airflow_provider_lclstream.sim import elog, kafka_broker


def serve_elog(told):
    broker = kafka_broker.MockBroker()
    elog.serve(broker.address, "mfxx00126", "MFX", 0, on_ready=told)
    broker.close()


def serve_broker(told):
    kafka_broker.serve(on_ready=told)


@pytest.mark.parametrize("serve", [serve_elog, serve_broker])
def test_signals_may_come_between_any_two_lines(serve, monkeypatch):
    handlers = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)

    def handle(_frame, _event, _argument):
        handlers[signal.SIGTERM](signal.SIGTERM, None)
        return handle

    def when_ready(_address):
        sys.settrace(handle)
        sys._getframe(1).f_trace = handle

    serving = threading.Thread(target=partial(serve, when_ready), daemon=True)
    serving.start()
    serving.join(20)
    assert not serving.is_alive()
