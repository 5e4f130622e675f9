"""Telling others of a job's states: a durable outbox, a courier that empties it, a verifier.

::

    signing   the headers that prove a callback; pure
    verifier  what a receiver needs: forgeries, replays and stale messages are refused
    outbox    what is still to be told, in SQLite; what was told is read off the state logs
    courier   one process per prefix that tells it, in order per job, again and again

A job never waits for its callback. The state log is written first and is the truth; the outbox
follows it, so a crash at any moment delays a callback but loses none.
"""
