"""Sockets that move messages: push and pull, nng's SP protocol and ZeroMQ, over TCP.

`connect` has the two functions that programs call; everything else serves them and the buffer.
"""
