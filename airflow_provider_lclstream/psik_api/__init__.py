"""Psik-API: jobs over HTTP; each caller has jobs of their own.

::

    settings  the service's configuration        policy   who may do what; pure
    caller    who asks, from mutual TLS          service  the operations, without HTTP
    index     the list of jobs, kept in memory   waiting  long-poll on states
    folders   safe access to files of a job      bundle   results as one tar
    app       the application                    loops    reconciler and courier threads
    upstream  /v2 and /v3, for psik's clients    v4, v4_logs   our own dialect
    http      what the dialects share            metrics  counters and gauges
    check     `lclstream psik serve --check`     cli      `lclstream psik serve`
"""
