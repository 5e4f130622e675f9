"""Identities: keys and certificates in a folder, an authority, and mutual TLS made from them.

Folder, file formats and introductions are those of ORNL's ``certified`` 1.3.0, whose clients and
servers can talk to ours. What differs: an authority here decides every name itself, asks for proof
that the requester holds the key, records and can revoke what it issues.
"""
