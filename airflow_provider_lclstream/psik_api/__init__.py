"""Psik-API: jobs over HTTP, each person's apart from the others'.

::

    settings  the service's configuration        policy   who may do what; pure
    caller    who asks, from mutual TLS          service  what can be asked, without HTTP
    index     the list of jobs, kept in memory   waiting  long-poll on states
    folders   files that stay in their folder    app      the application: routes and loops
    upstream  /v2 and /v3, as psik speaks them   v4       our own dialect
"""
