"""Delivery of a job's states: a durable outbox, a courier that empties it, a verifier.

::

    signing   the headers that prove a callback; pure
    verifier  what a receiver needs: forgeries, replays and stale messages are refused
    outbox    what is still to be delivered, in SQLite; filled from the state logs
    courier   one process per prefix that delivers it, in order per job, with retries

A job never waits for its callback. The state log is written first and is the truth; the outbox
follows it, so a crash at any moment delays a callback but loses none.
"""
