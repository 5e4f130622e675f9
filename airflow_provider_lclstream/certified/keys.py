"""Private keys: made here, written once, readable by their owner alone, never sent anywhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from airflow_provider_lclstream.certified.files import write_file
from lclstreamer.core.errors import BadInputError, ConfigurationError
from lclstreamer.transport.identity import PASSPHRASE_FILE_VARIABLE, passphrase
from lclstreamer.transport.tls_files import Passphrase, require_private

KeyType = Literal["ed25519", "ecdsa"]
PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | ed448.Ed448PublicKey

_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)


def generate_key(kind: KeyType) -> PrivateKey:
    """Make a new key: ``ed25519``, or ``ecdsa`` on the curve P-256."""
    if kind == "ecdsa":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def signing_hash(key: PrivateKey) -> hashes.SHA256 | None:
    """The hash that `cryptography` wants for signing with this key; ed25519 has its own."""
    return hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None


def write_key(path: Path, key: PrivateKey, passphrase: str | None = None) -> None:
    """Write a private key with mode 0600, encrypted where a passphrase is given."""
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    write_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption), secret=True)


def read_key(path: Path, ask: Passphrase | None = None) -> PrivateKey:
    """Read a private key, asking for its passphrase only when it has one.

    Raises:
        PermissionDeniedError: others can read the file.
        ConfigurationError: it is missing, damaged, of another kind, or the passphrase is wrong.
    """
    require_private(path)
    data = path.read_bytes()
    password = (ask or passphrase)().encode() if b"ENCRYPTED" in data[:200] else None
    try:
        key = load_pem_private_key(data, password)
    except (ValueError, TypeError):
        what = "its passphrase is wrong" if password else "it is damaged"
        raise ConfigurationError(
            f"the private key cannot be used: {what}",
            mend="restore it from a backup, or make a new identity with `lclstream certified init`",
            where=str(path),
        ) from None  # the original error may quote the key
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise ConfigurationError(
            f"a private key of the kind {type(key).__name__} is not supported",
            mend="make an ed25519 or ecdsa key with `lclstream certified init`",
            where=str(path),
        )
    return key


def new_passphrase() -> str:
    """A passphrase for a new identity: from its file, else typed twice on the terminal.

    Raises:
        ConfigurationError: there is neither a file nor a terminal, or the two differ.
    """
    first = passphrase()
    if not os.environ.get(PASSPHRASE_FILE_VARIABLE):
        import getpass

        if getpass.getpass("the same once more: ") != first:
            raise ConfigurationError("the two passphrases differ", mend="try again")
    if not first:
        raise ConfigurationError("the passphrase is empty", mend="choose a long one")
    return first


def supported_public_key(key: object) -> PublicKey:
    """Give a public key back if certificates may be issued for it.

    Raises:
        BadInputError: its kind is not among ed25519, ed448 and ECDSA on P-256, P-384, P-521.
    """
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    raise BadInputError(
        f"keys of the kind {type(key).__name__} are not certified",
        mend="make an ed25519 key with `lclstream certified init`",
    )


def fingerprint(key: PublicKey) -> str:
    """``sha256:`` and the hexadecimal digest of a public key's DER form."""
    import hashlib

    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(der).hexdigest()}"
