"""The engine: one rank's events, from their source to the last confirmed message.

::

    source ─ extract ─ leave out incomplete ones ─ pipeline ─▶ serializer ─▶ handler
    (this thread)                                   batches    (a thread)    (a thread each)

Reading, serializing and sending overlap; the queues between them are bounded in bytes, so a slow
receiver slows the reading down. Every handler gets the same messages.
"""
