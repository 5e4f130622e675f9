"""What a client says about itself to get a token: signed with its private key (RFC 7523)."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import Any

from airflow_provider_lclstream.psik.backends.facility_secrets import read_secret
from lclstreamer.core.errors import ConfigurationError

STATEMENT_SECONDS = 300
"""How long a statement may be used."""


def signed_statement(key_file: str, client_id: str | None, audience: str) -> str:
    """A JSON web token by which a client proves who it is.

    Args:
        key_file: the private key in PEM, mode 0600; its first line may be the client id.
        client_id: the client id, where the file does not say it.
        audience: the URL it is for.

    Raises:
        ConfigurationError: the file is missing, open to others, or holds no such key.
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    client_id, key = _read_key(key_file, client_id)
    now = int(time.time())
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": secrets.token_hex(16),
        "iat": now,
        "exp": now + STATEMENT_SECONDS,
    }
    signed = f"{_encoded({'alg': 'RS256', 'typ': 'JWT'})}.{_encoded(claims)}"
    signature = key.sign(signed.encode(), PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_base64(signature)}"


def _read_key(key_file: str, client_id: str | None) -> tuple[str, Any]:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    first, begin, rest = read_secret(key_file).partition("-----BEGIN")
    client_id = client_id or first.strip()
    try:
        key = load_pem_private_key((begin + rest).encode(), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            "the file does not hold a PEM private key",
            where=key_file,
            mend="download the client's key from Iris in PEM format",
        ) from error
    if not isinstance(key, RSAPrivateKey) or not client_id:
        raise ConfigurationError(
            "the client id is missing" if not client_id else "the key is not an RSA key",
            where=key_file,
            mend="set `client_id`, and use the key as Iris issued it",
        )
    return client_id, key


def _encoded(document: dict[str, Any]) -> str:
    return _base64(json.dumps(document, separators=(",", ":")).encode())


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
