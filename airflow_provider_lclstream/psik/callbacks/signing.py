"""The headers that prove a callback. Pure.

Two signatures go with every callback whose job has a secret:

* ``x-hub-signature-256: sha256=<hex HMAC of the body>``, as upstream's psik sends it;
* ``webhook-id``, ``webhook-timestamp`` and ``webhook-signature: v1,<base64 HMAC of id.time.body>``,
  as the Standard Webhooks specification has it: it covers when and which, so that a captured
  callback cannot be sent again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

from airflow_provider_lclstream.psik.states import Transition

UPSTREAM_HEADER = "x-hub-signature-256"
ID_HEADER = "webhook-id"
TIME_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
OWN_HEADERS = frozenset({
    UPSTREAM_HEADER, ID_HEADER, TIME_HEADER, SIGNATURE_HEADER, "content-type", "content-length",
    "host", "transfer-encoding", "connection",
})  # fmt: skip
"""Headers that a job's ``cb_headers`` cannot replace."""


def callback_body(jobid: str, row: Transition) -> bytes:
    """The body: upstream's, compact."""
    document = {"jobid": jobid, "jobndx": row.jobndx, "state": str(row.state), "info": row.info}
    return json.dumps(document, separators=(",", ":")).encode()


def event_id(jobid: str, number: int) -> str:
    """The id of the callback about a row of the history. The same however often it is sent."""
    return f"{jobid}/{number}"


def signature(secret: str, identity: str, timestamp: int, body: bytes) -> str:
    """The value of ``webhook-signature``."""
    message = f"{identity}.{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), message, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def upstream_signature(secret: str, body: bytes) -> str:
    """The value of ``x-hub-signature-256``."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed_headers(
    secret: str | None, identity: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """All headers of a callback, but for the job's own."""
    headers = {
        "content-type": "application/json",
        "accept": "application/json",
        ID_HEADER: identity,
        TIME_HEADER: str(timestamp),
    }
    if secret:
        headers[UPSTREAM_HEADER] = upstream_signature(secret, body)
        headers[SIGNATURE_HEADER] = signature(secret, identity, timestamp, body)
    return headers
