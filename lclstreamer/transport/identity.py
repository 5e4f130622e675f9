"""The identity of this environment, as sockets need it: which certificate to show, whom to trust.

`airflow_provider_lclstream.certified` makes and keeps identity folders; here they are only read.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from lclstreamer.core.errors import BadInputError, ConfigurationError
from lclstreamer.transport.tls import TlsSettings
from lclstreamer.transport.tls_files import Credential, Passphrase, require_private

FOLDER_VARIABLES = ("LCLSTREAM_IDENTITY", "CERTIFIED_CONFIG")
PASSPHRASE_FILE_VARIABLE = "LCLSTREAM_IDENTITY_PASSPHRASE_FILE"  # noqa: S105 (a variable's name)
"""Names a file (0600) whose first line is the passphrase of the identity folder's keys."""


def default_folder() -> Path:
    """``$LCLSTREAM_IDENTITY``, ``$CERTIFIED_CONFIG``, the virtual environment's, ``/etc``."""
    for variable in FOLDER_VARIABLES:
        if os.environ.get(variable):
            return Path(os.environ[variable])
    environment = os.environ.get("VIRTUAL_ENV")
    if not environment and sys.prefix != sys.base_prefix:
        environment = sys.prefix
    return Path(environment or "/") / "etc" / "certified"


def passphrase() -> str:
    """The passphrase of the identity's keys: from its file, else asked on the terminal.

    Raises:
        ConfigurationError: there is neither a file nor a terminal.
    """
    named = os.environ.get(PASSPHRASE_FILE_VARIABLE)
    if named:
        require_private(Path(named))
        return Path(named).read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "the private key is encrypted and nobody is here to ask for its passphrase",
            mend=f"write the passphrase to a file of mode 0600 and name it in "
            f"${PASSPHRASE_FILE_VARIABLE}",
        )
    import getpass

    return getpass.getpass("passphrase of the identity: ")


def server_settings(
    folder: Path, *, ask: Passphrase = passphrase, allowed_peers: Iterable[str] | None = None
) -> TlsSettings:
    """What a listening socket shows and trusts.

    Raises:
        ConfigurationError: there is no certificate for a server in the folder.
    """
    candidates = [folder / "id.crt", *sorted((folder / "server").glob("*.crt"))]
    certificate = first_certificate("server", candidates)
    if certificate is None:
        raise ConfigurationError(
            "this identity has no certificate for a server",
            mend="ask an authority for one (`lclstream certified introduce --service …`), or make "
            "the identity of a service with `lclstream certified init --service NAME --host HOST`",
            where=str(folder),
        )
    return TlsSettings(
        Credential(certificate, folder / "id.key", ask),
        (folder / "known_clients",),
        (folder / "revoked",),
        frozenset(allowed_peers) if allowed_peers is not None else None,
    )


def client_settings(folder: Path, *, ask: Passphrase = passphrase) -> TlsSettings:
    """What a dialing socket shows and trusts: a certificate of another authority before the own.

    Raises:
        ConfigurationError: there is no certificate for a client in the folder.
    """
    signed = sorted((folder / "id").glob("*.crt"))
    own = _own_authority(folder)
    signed.sort(key=lambda path: _issuer(path) == own)
    certificate = first_certificate("client", [*signed, folder / "id.crt"])
    if certificate is None:
        raise ConfigurationError(
            "this identity has no certificate for a client",
            mend="ask an authority for one: `lclstream certified request`",
            where=str(folder),
        )
    return TlsSettings(
        Credential(certificate, folder / "id.key", ask),
        (folder / "known_servers",),
        (folder / "revoked",),
    )


def first_certificate(role: str, paths: Iterable[Path]) -> Path | None:
    """The first of these files that holds a certificate for this side of a connection.

    Raises:
        BadInputError: a file cannot be read or holds no certificate.
    """
    return next((path for path in paths if path.exists() and role in _read(path).roles), None)


def _read(path: Path):  # noqa: ANN202 (PeerIdentity, whose module is heavy)
    from cryptography import x509

    from lclstreamer.transport.peer import PARSE_ERRORS, identity_of

    try:
        return identity_of(x509.load_pem_x509_certificate(path.read_bytes()))
    except (OSError, *PARSE_ERRORS) as error:
        raise BadInputError(
            f"the certificate cannot be read: {error}",
            mend="run `lclstream certified check`; it names what is wrong",
            where=str(path),
        ) from error


def _issuer(path: Path) -> str:
    return _read(path).issuer


def _own_authority(folder: Path) -> str | None:
    path = folder / "CA.crt"
    return _read(path).subject if path.exists() else None
