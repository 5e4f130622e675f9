"""One rank from source to report, with scripted sources and handlers around the real engine."""

from __future__ import annotations

import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from lclstreamer.core.errors import BadInputError, IncompleteStreamError, OutputError
from lclstreamer.core.events import DeliveryReport, Event
from lclstreamer.engine import rank as rank_module
from lclstreamer.engine import stages
from lclstreamer.engine.rank import Rank
from lclstreamer.event_sources.base import StopFlag
from lclstreamer.mpi import RankContext
from lclstreamer.parameters.configuration import parse_configuration
from lclstreamer.registry import find_class

BASE = """
source_identifier: a run
skip_incomplete_events: {skip}
event_source: {{type: InternalEventSource, number_of_events_to_generate: {count}, seed: 3}}
data_sources:
  value: {{type: EventId}}
  frame: {{type: GenericRandomNumpyArray, array_shape: [8, 16], array_dtype: float32}}
  extra: {{type: EventId, required: false}}
processing_pipeline: {{type: BatchProcessingPipeline, batch_size: 10}}
data_serializer: {{type: NumpyBinarySerializer, use_compression: false}}
data_handlers: []
"""


class Handler:
    """Keeps what it is given, and fails or dawdles as it is told."""

    def __init__(self, parameters, rank, size):
        self.told, self.rank, self.size = parameters, rank, size
        self.messages, self.is_closed, self.missing = [], False, None
        parameters.made.append(self)

    def open(self):
        if self.told.open_error:
            raise self.told.open_error

    def handle(self, message):
        time.sleep(self.told.seconds)
        if len(self.messages) == self.told.fails_at:
            raise IncompleteStreamError("the other side left", mend="start it again")
        self.messages.append(message)

    def close(self, *, missing=()):
        self.is_closed, self.missing = True, list(missing)
        count = len(self.messages)
        return DeliveryReport(
            "memory", count, sum(m.size_bytes for m in self.messages),
            self.told.confirms(count), list(self.told.problems),
        )  # fmt: skip


def handler(made, fails_at=None, open_error=None, seconds=0.0, problems=(), confirms=lambda n: n):
    return SimpleNamespace(
        type="Memory", made=made, fails_at=fails_at, open_error=open_error, seconds=seconds,
        problems=problems, confirms=confirms,
    )  # fmt: skip


class Scripted:
    """A source that yields what it is told."""

    run, produces_events = "scripted", True

    def __init__(self, parameters, setup):
        self.parameters, self.setup = parameters, setup
        self.produces_events = parameters.produces_events

    def events(self):
        for number, step in enumerate(self.parameters.steps):
            if self.setup.stop.is_set():
                return
            if isinstance(step, Exception):
                raise step
            self.parameters.read.append(number)
            time.sleep(self.parameters.seconds)
            yield Event(number, {name: _array(value) for name, value in step.items()})


def _array(value):
    return None if value is None else np.asarray(value)


def script(steps, seconds=0.0, produces_events=True):
    return SimpleNamespace(
        type="Scripted", steps=steps, read=[], seconds=seconds, produces_events=produces_events
    )


@pytest.fixture
def make(monkeypatch):
    """``make(handlers, source=None, skip=True, …)`` gives a Rank."""
    own = {"Memory": Handler, "Scripted": Scripted}

    def find(kind, name):
        return own.get(name) or find_class(kind, name)

    monkeypatch.setattr(rank_module, "find_class", find)

    def build(handlers, source=None, skip=True, count=25, stop=None, limit=None, **sections):
        configuration = parse_configuration(BASE.format(skip=str(skip).lower(), count=count))
        changes = {"data_handlers": tuple(handlers), **sections}
        if source is not None:
            changes["event_source"] = source
        own.update({cls.__name__: cls for cls in sections.pop("classes", ())})
        return Rank(configuration.model_copy(update=changes), RankContext(), limit=limit, stop=stop)

    return build


def load(message):
    import io

    with np.load(io.BytesIO(message.payload)) as arrays:
        return {name: arrays[name] for name in arrays.files}


def ids(messages):
    return [int(number) for message in messages for number in load(message)["event_id"]]


def test_everything_arrives_at_every_handler(make):
    made = []
    report = make([handler(made), handler(made)]).run()
    assert (report.state, report.exit_code, report.problems) == ("completed", 0, [])
    assert (report.events, report.messages, report.confirmed_messages) == (25, 3, 3)
    assert ids(made[0].messages) == list(range(25))
    assert [m.payload for m in made[0].messages] == [m.payload for m in made[1].messages]
    assert report.bytes == sum(m.size_bytes for m in made[0].messages)
    assert [m.sequence for m in made[0].messages] == [0, 1, 2]
    assert report.first_event_unix <= report.last_event_unix <= time.time()
    assert all(one.is_closed and one.missing == [] for one in made)


def test_the_limit(make):
    made = []
    assert make([handler(made)], limit=7).run().events == 7


STEPS = [{"value": 1}, {"value": None}, {"value": 2}, {"value": 3}]


def test_an_incomplete_event_is_left_out_and_counted_and_the_stream_goes_on(make):
    made = []
    report = make([handler(made)], script(STEPS)).run()
    assert load(made[0].messages[0])["value"].tolist() == [1, 2, 3]
    assert (report.events_read, report.skipped_events, report.events) == (4, 1, 3)
    assert report.missing == {"value": 1}
    assert (report.state, report.exit_code) == ("completed", 0)


@pytest.mark.parametrize("steps", [STEPS, [{"value": None}, *STEPS]])
def test_or_filled_with_zero_for_integers(make, steps):
    made = []
    report = make([handler(made)], script(steps), skip=False).run()
    expected = [0 if step["value"] is None else step["value"] for step in steps]
    assert load(made[0].messages[0])["value"].tolist() == expected
    assert (report.skipped_events, report.filled_events) == (0, expected.count(0))


def test_and_with_nan_for_floating_point_numbers(make):
    made = []
    make([handler(made)], script([{"x": [1.5, 2]}, {"x": None}]), skip=False).run()
    np.testing.assert_array_equal(load(made[0].messages[0])["x"], [[1.5, 2.0], [np.nan, np.nan]])


def test_an_optional_data_source_makes_no_event_incomplete(make):
    made = []
    steps = [{"value": 1, "extra": 5}, {"value": 2, "extra": None}]
    report = make([handler(made)], script(steps)).run()
    assert load(made[0].messages[0])["extra"].tolist() == [5, 0]
    assert (report.skipped_events, report.filled_events, report.missing) == (0, 1, {"extra": 1})


def test_one_handler_fails_and_the_other_gets_everything(make):
    made = []
    report = make([handler(made, fails_at=1), handler(made)], count=50).run()
    assert len(made[0].messages) == 1
    assert ids(made[1].messages) == list(range(50))
    assert (report.state, report.exit_code, report.events) == ("failed", 74, 50)
    assert any("the other side left" in problem for problem in report.problems)
    assert any("took 1 of 5 messages" in problem for problem in report.problems)
    assert all(one.is_closed for one in made)
    assert made[1].missing == [], "nothing is missing there"


def test_reading_ends_where_no_handler_is_left(make):
    made, source = [], script([{"value": n} for n in range(10_000)], seconds=0.0005)
    report = make([handler(made, fails_at=0)], source).run()
    assert (report.state, report.exit_code) == ("failed", 74)
    assert len(source.read) < 5_000


def test_a_handler_that_cannot_open_ends_the_rank_before_it_reads(make):
    made, source = [], script([{"value": 1}])
    error = OutputError("cannot write into the folder", mend="choose another", where="/x")
    rank = make([handler(made), handler(made, open_error=error)], source)
    report = rank.run()
    assert (report.state, report.exit_code, source.read) == ("failed", 73, [])
    assert rank.error is error
    assert all(one.is_closed for one in made)
    assert made[0].missing == ["cannot write into the folder"]


def test_a_source_that_fails_in_the_middle_delivers_what_it_gave(make):
    made = []
    steps = [{"value": 1}, {"value": 2}, BadInputError("file damaged", mend="copy it again")]
    rank = make([handler(made)], script(steps))
    report = rank.run()
    assert ids(made[0].messages) == [0, 1]
    assert (report.state, report.exit_code) == ("failed", 65)
    assert (report.events, report.confirmed_messages) == (2, 1)
    assert str(rank.error).startswith("file damaged")
    assert made[0].missing == ["file damaged"]


def test_an_error_nobody_expected_is_told_as_a_fault_of_ours(make):
    made = []
    rank = make([handler(made)], script([{"value": 1}, ZeroDivisionError("division by zero")]))
    report = rank.run()
    assert (report.exit_code, report.events) == (70, 1)
    assert "ZeroDivisionError" in report.problems[-1]
    assert made[0].missing == ["ZeroDivisionError: division by zero"]
    assert rank.error.mend


def test_data_that_cannot_be_serialized_ends_the_rank_and_is_counted(make):
    class Refusing:
        def __init__(self, parameters):
            pass

        def serialize(self, batch):
            raise BadInputError("cannot hold complex numbers", mend="choose a dtype")

    made = []
    rank = make(
        [handler(made)], classes=[Refusing], data_serializer=SimpleNamespace(type="Refusing")
    )
    report = rank.run()
    assert (report.state, report.exit_code, report.messages) == ("failed", 65, 0)
    assert any("events were read but never became a message" in p for p in report.problems)
    assert "cannot hold complex numbers" in made[0].missing


def test_a_pipeline_that_fails_or_forgets_is_told_to_the_other_side(make):
    class Failing:
        def __init__(self, parameters):
            self.forgets = parameters.forgets

        def process(self, events, *, run, rank):
            assert len(list(events)) == 25
            if not self.forgets:
                raise BadInputError("shapes differ", mend="leave out the detector")
            yield from ()

    for forgets, expected in ((False, ["shapes differ"]), (True, [])):
        made = []
        pipeline = SimpleNamespace(type="Failing", forgets=forgets)
        make([handler(made)], classes=[Failing], processing_pipeline=pipeline).run()
        assert made[0].missing == [*expected, "25 events were read but are in no message"]


def test_a_source_that_cannot_even_be_opened_is_told_to_the_other_side(make):
    class Absent:
        def __init__(self, parameters, setup):
            raise BadInputError("no file is called x.h5", mend="name one")

    made = []
    rank = make([handler(made)], SimpleNamespace(type="Absent"), classes=[Absent])
    assert rank.run().exit_code == 65
    (one,) = made
    assert (one.messages, one.missing) == ([], ["no file is called x.h5"])


def test_an_interrupt_is_told_to_the_other_side(make):
    class Interrupted(Scripted):
        def events(self):
            yield from super().events()
            raise KeyboardInterrupt

    made, source = [], script([{"value": 1}])
    source.type = "Interrupted"
    with pytest.raises(KeyboardInterrupt):
        make([handler(made)], source, classes=[Interrupted]).run()
    assert made[0].missing[0] == rank_module.INTERRUPTED


def test_a_stop_delivers_what_was_read(make):
    made, stop = [], StopFlag()

    class Stopping(Handler):
        def handle(self, message):
            super().handle(message)
            stop.set()

    source = script([{"value": n} for n in range(2_000)], seconds=0.002)
    told = handler(made)
    told.type = "Stopping"
    report = make([told], source, stop=stop, classes=[Stopping]).run()
    assert (report.state, report.exit_code, report.problems) == ("stopped", 143, [])
    assert 10 <= report.events < 1_000
    assert ids(made[0].messages) == source.read == list(range(report.events))
    assert made[0].missing == [rank_module.STOPPED]


@pytest.mark.parametrize(
    ("confirmations", "expected"),
    [((lambda n: n, lambda n: n - 1), 2), ((lambda n: n, lambda _: None), None)],
)
def test_confirmed_is_what_every_handler_confirms(make, confirmations, expected):
    handlers = [handler([], confirms=confirms) for confirms in confirmations]
    assert make(handlers).run().confirmed_messages == expected


def test_a_problem_that_a_handler_reports_is_a_failure(make):
    report = make([handler([], problems=["1 message was not acknowledged"])]).run()
    assert (report.state, report.exit_code) == ("failed", 74)
    assert report.problems == ["memory: 1 message was not acknowledged"]


def test_a_slow_handler_slows_the_reading_down(make, monkeypatch):
    monkeypatch.setattr(stages, "QUEUE_LIMIT_BYTES", 30_000)
    made, ahead = [], []
    source = script([{"value": n, "frame": np.zeros(1_000)} for n in range(100)])

    class Watching(Handler):
        def handle(self, message):
            time.sleep(0.01)
            super().handle(message)
            ahead.append(len(source.read) - sum(m.events for m in self.messages))

    told = handler(made)
    told.type = "Watching"
    pipeline = SimpleNamespace(type="NoOpProcessingPipeline")
    report = make([told], source, classes=[Watching], processing_pipeline=pipeline).run()
    assert report.events == 100
    # 8 kB each: at most 3 wait in each of the two queues, and a few are on their way.
    assert max(ahead) <= 12


def test_reading_and_sending_overlap(make):
    """While a message is sent by both handlers the next event is read: all three meet each time."""
    meet = threading.Barrier(3)

    class Reading(Scripted):
        def events(self):
            for event in super().events():
                if event.event_id > 0:
                    meet.wait(20)
                yield event

    class Sending(Handler):
        def handle(self, message):
            if len(self.messages) < 19:
                meet.wait(20)
            super().handle(message)

    made = []
    source, told = script([{"value": n} for n in range(20)]), [handler(made), handler(made)]
    source.type = "Reading"
    for one in told:
        one.type = "Sending"
    pipeline = SimpleNamespace(type="NoOpProcessingPipeline")
    rank = make(told, source, classes=[Reading, Sending], processing_pipeline=pipeline)
    report = rank.run()
    assert (report.events, report.problems) == (20, [])
    assert [len(one.messages) for one in made] == [20, 20]


def test_a_rank_that_serves_others_opens_no_handler(make):
    made = []
    report = make([handler(made)], script([], produces_events=False)).run()
    assert (report.role, report.state, report.exit_code, made) == ("psana", "completed", 0, [])


@pytest.mark.parametrize("section", ["data_sources", "data_handlers"])
def test_there_must_be_something_to_do(make, section):
    rank = make([handler([])], **{section: {} if section == "data_sources" else ()})
    assert rank.run().exit_code == 78
    assert section in rank.error.problem


def test_the_report_is_written_whole(make, tmp_path):
    rank = make([handler([])])
    rank.run().write(tmp_path / "new")
    (path,) = (tmp_path / "new").iterdir()
    assert path.name == "report.r0000.json"
    document = json.loads(path.read_text())
    assert document["events"] == 25
    assert document["pid"] > 0
    with pytest.raises(OutputError) as caught:
        rank.report.write(path / "below a file")
    assert "--report" in caught.value.mend
