"""Psik-API: jobs over HTTP, each person's apart from the others'.

::

    settings  the service's configuration        policy   who may do what; pure
    caller    who asks, from mutual TLS          service  what can be asked, without HTTP
    index     the list of jobs, kept in memory   waiting  long-poll on states
    folders   files that stay in their folder    bundle   results as one tar
    app       the application                    loops    reconciler and courier beside it
    upstream  /v2 and /v3, as psik speaks them   v4       our own dialect
    http      pieces of both dialects            metrics  what is counted
"""
