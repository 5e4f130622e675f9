from __future__ import annotations

import json

from nng_stream.ledger import Count, draw_up

from lclstreamer.transport.records import PeerRecord

NOTHING = Count()


def producer(name, messages, **facts):
    record = PeerRecord(name, confirms=True)
    record.count(messages, 10 * messages)
    for key, value in facts.items():
        setattr(record, key, value)
    return record


def consumer(name, sent, acknowledged, **facts):
    record = producer(name, sent, **facts)
    record.acknowledged_messages, record.acknowledged_bytes = acknowledged, 10 * acknowledged
    return record


def final(producers, consumers, waiting=NOTHING, redelivered=NOTHING, problems=()):
    return draw_up(
        producers,
        consumers,
        waiting=waiting,
        redelivered=redelivered,
        problems=problems,
        is_final=True,
    )


def test_an_account_that_balances_is_complete():
    ledger = final([producer("a", 6), producer("b", 4)], [consumer("c", 10, 10)])
    assert ledger.state == "completed"
    assert ledger.problems == []
    assert ledger.received == ledger.sent == ledger.acknowledged == Count(10, 100)
    assert ledger.to_json()["version"] == 1
    json.dumps(ledger.to_json())


def test_messages_to_those_who_cannot_confirm_are_unconfirmed_but_not_missing():
    plain = consumer("c", 10, 0, confirms=False)
    ledger = final([producer("a", 10)], [plain])
    assert (ledger.state, ledger.unconfirmed) == ("completed", Count(10, 100))


def test_what_is_left_makes_it_incomplete():
    ledger = final([producer("a", 10)], [consumer("c", 8, 8)], waiting=Count(2, 20))
    assert ledger.state == "incomplete"
    assert ledger.problems == ["2 of 10 messages (20 bytes) were not delivered"]


def test_redelivered_messages_are_sent_twice_and_acknowledged_once():
    consumers = [consumer("dead", 5, 2, returned_messages=3), consumer("c", 8, 8)]
    ledger = final([producer("a", 10)], consumers, redelivered=Count(3, 30))
    assert ledger.state == "completed"
    assert ledger.sent.messages == ledger.received.messages + ledger.redelivered.messages


def test_a_difference_is_a_problem_with_the_numbers():
    ledger = final([producer("a", 10)], [consumer("c", 9, 9)])
    assert ledger.state == "incomplete"
    assert ledger.problems == [
        "the account does not balance: 10 messages (100 bytes) received, 9 (90 bytes) accounted for"
    ]


def test_problems_of_peers_and_of_the_buffer_stand_together():
    ledger = final(
        [producer("a", 0, problems=["producer a: gone"])],
        [consumer("c", 0, 0, problems=["consumer c: gone"])],
        problems=["no time"],
    )
    assert ledger.problems == ["no time", "producer a: gone", "consumer c: gone"]
    assert ledger.state == "incomplete"


def test_while_it_flows_nothing_is_missing_yet():
    ledger = draw_up(
        [producer("a", 10)], [], waiting=Count(10, 100), redelivered=NOTHING, is_final=False
    )
    assert (ledger.state, ledger.problems) == ("open", [])
    assert ledger.totals["received"] == {"messages": 10, "bytes": 100}


def test_an_entry_names_its_peer_and_its_end():
    ledger = final([producer("rank 3", 1, end="end_of_stream")], [consumer("c", 1, 1)])
    (entry,) = ledger.producers
    assert (entry["name"], entry["messages"], entry["end"]) == ("rank 3", 1, "end_of_stream")
    assert ledger.first_message_unix is not None
    assert ledger.consumers[0]["acknowledged_messages"] == 1
