"""Identities: keys and certificates in a folder, an authority, and mutual TLS made from them.

Folder, file formats and introductions are those of ORNL's ``certified`` 1.3.0, whose clients and
servers can talk to ours. What differs: an authority here decides every name itself, asks for proof
that the requester holds the key, records and can revoke what it issues.

::

    the folder      folder files keys certificates encoding names creation findings check overview
    an authority    authority record policy subjects key_requests authority_app
    introductions   introduction renewal revocation_follower trust
    mutual TLS      contexts clients message
    serving         serve asgi access_log log_sink who
    command lines   cli authority_cli serving_cli message_cli options
"""
