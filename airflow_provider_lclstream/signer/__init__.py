"""Certificates of one's own login name: a service on a UNIX socket that asks the kernel who calls.

The contract is upstream's: ``POST /sign?cert=<base64url DER>`` answers with an introduction. Of
what is sent only the public key is used; the name is the login name of the calling process.
"""
