"""Which books are in order, and what is said of those that are not."""

import pytest

from airflow_provider_lclstream.transfer.settlement import BufferLedger, RankReport, settle


def report(rank: int, **facts) -> RankReport:
    given = {"rank": rank, "size": 4, "messages": 10, "bytes": 1000, "events": 50, **facts}
    return RankReport.model_validate(given)


def ledger(received: int = 20, **facts) -> BufferLedger:
    count = {"messages": received, "bytes": 100 * received}
    given = {"version": 1, "state": "completed", "received": count, "acknowledged": count, **facts}
    return BufferLedger.model_validate(given)


HELPERS = [report(0, role="psana", messages=0, events=0), report(1, role="psana", messages=0)]
BOTH = [*HELPERS, report(2, first_event_unix=5.0), report(3, first_event_unix=4.0)]


def test_books_that_agree_are_complete():
    settlement = settle(BOTH, ledger(consumers=[{"name": "a"}, {"name": "b"}]), ranks=2)
    assert settlement.state == "completed"
    assert settlement.problems == ()
    assert (settlement.events_produced, settlement.messages_produced) == (100, 20)
    assert (settlement.messages_delivered, settlement.messages_lost) == (20, 0)
    assert settlement.first_event_unix == 4.0
    assert settlement.consumers == 2


@pytest.mark.parametrize(
    ("reports", "book", "words", "lost"),
    [
        (BOTH, None, "the buffer left no ledger", 20),
        (BOTH[:3], ledger(10), "1 of 2 event-producing ranks left a report", 0),
        (BOTH, ledger(19), "the ranks report 20 messages sent, the buffer received 19", 1),
        (BOTH, ledger(undelivered={"messages": 3}), "3 messages were not delivered", 3),
        (BOTH, ledger(state="incomplete"), "the buffer's ledger says 'incomplete'", 0),
        (BOTH, ledger(problems=["consumer a died"]), "buffer: consumer a died", 0),
        ([*BOTH[:3], report(3, exit_code=74)], ledger(), "rank 3: it ended with exit code 74", 0),
        ([*BOTH[:3], report(3, problems=["disk full"])], ledger(), "rank 3: disk full", 0),
        ([report(0, role="psana", exit_code=1), *BOTH[1:]], ledger(), "rank 0", 0),
        ([], ledger(0), "0 of 2 event-producing ranks", 0),
        # More than was produced is a mistake of somebody's too.
        (BOTH, ledger(21), "the buffer received 21", 0),
    ],
)
def test_what_is_wrong_is_said_with_its_numbers(reports, book, words, lost):
    settlement = settle(reports, book, ranks=2)
    assert settlement.state == "failed"
    assert words in "; ".join(settlement.problems)
    assert settlement.messages_lost == lost


def test_redelivery_and_plain_peers_are_told_but_are_no_failure():
    book = ledger(redelivered={"messages": 2}, unconfirmed={"messages": 5})
    settlement = settle(BOTH, book, ranks=2)
    assert settlement.state == "completed"
    assert (settlement.messages_redelivered, settlement.messages_unconfirmed) == (2, 5)
