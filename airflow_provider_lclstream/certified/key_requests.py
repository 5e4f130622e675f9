"""Requests for certificates: a public key, proof that its holder asks, a claim to ignore."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from airflow_provider_lclstream.certified.encoding import bounded, from_base64url
from airflow_provider_lclstream.certified.keys import (
    PrivateKey,
    PublicKey,
    signing_hash,
    supported_public_key,
)
from lclstreamer.core.errors import BadInputError
from lclstreamer.transport.peer import PARSE_ERRORS

Proof = Literal["request", "none"]
"""How a requester proved to hold the key: signed the request with it, or not at all."""


@dataclass(frozen=True)
class KeyRequest:
    """A public key to be certified, and what its sender claims to be (never believed).

    Attributes:
        public_key: the key.
        claimed_subject: the distinguished name in the request, for people to read.
        proof: whether the request is signed by the key.
        digest: identifies this very request.
    """

    public_key: PublicKey
    claimed_subject: x509.Name
    proof: Proof
    digest: str


def build_request(subject: x509.Name, key: PrivateKey) -> x509.CertificateSigningRequest:
    """A request that proves possession of the key; its subject is a wish, not a claim to rights."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(key, signing_hash(key))


def read_request(data: bytes) -> KeyRequest:
    """Read a request: PEM, DER in base64url, or a certificate in either form, as upstream sends.

    Raises:
        BadInputError: it is none of these, its signature is wrong or its key is not supported.
    """
    found = _parse_request(data)
    proof: Proof = "none"
    try:
        if isinstance(found, x509.CertificateSigningRequest):
            if not found.is_signature_valid:
                raise BadInputError(
                    "the request is not signed by the key it asks a certificate for",
                    mend="make a new one with `lclstream certified request`",
                )
            proof = "request"
        key = supported_public_key(found.public_key())
        subject = found.subject
    except PARSE_ERRORS as error:
        raise _not_a_request(error) from error
    der = found.public_bytes(Encoding.DER)
    return KeyRequest(key, subject, proof, f"sha256:{hashlib.sha256(der).hexdigest()}")


def _parse_request(data: bytes) -> x509.CertificateSigningRequest | x509.Certificate:
    text = bounded(data).strip()
    try:
        if text.startswith(b"-----BEGIN CERTIFICATE-----"):
            return x509.load_pem_x509_certificate(text)
        if text.startswith(b"-----"):
            return x509.load_pem_x509_csr(text)
        der = from_base64url(text.decode("ascii"))
    except PARSE_ERRORS as error:
        raise _not_a_request(error) from error
    for load in (x509.load_der_x509_csr, x509.load_der_x509_certificate):
        try:
            return load(der)
        except PARSE_ERRORS:
            continue
    raise _not_a_request("neither a certificate nor a request")


def _not_a_request(reason: object) -> BadInputError:
    return BadInputError(
        f"this is no request for a certificate: {reason}",
        mend="make one with `lclstream certified request`, or `certified get-ident`",
    )
