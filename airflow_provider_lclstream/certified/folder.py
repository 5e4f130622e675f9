"""The identity folder: where it is, what lies where, and reading it.

======================  ==============================================================
``CA.key`` ``CA.crt``   the own authority (jobs have none)
``id.key`` ``id.crt``   the own key, and the certificate the own authority gave it
``id/<authority>.crt``  client certificates by other authorities
``server/…``            server certificates by other authorities
``known_servers/``      ``<alias>.yaml`` with URL and trust; ``*.crt`` trusted anywhere
``known_clients/``      ``*.crt`` whose clients may connect
``authorities/``        ``<authority>.yaml``: where its renewals and revocations are
``revoked/``            ``<authority>.crl``: signed revocation lists
``policy.yaml``         what the own authority certifies
``issued.sqlite3``      what it certified
======================  ==============================================================
"""

from __future__ import annotations

import functools
from pathlib import Path

from cryptography import x509

from airflow_provider_lclstream.certified.encoding import read_certificate_file
from airflow_provider_lclstream.certified.keys import PrivateKey, read_key
from lclstreamer.core.errors import ConfigurationError
from lclstreamer.transport.identity import FOLDER_VARIABLES, default_folder, passphrase
from lclstreamer.transport.tls_files import Credential, Passphrase


class IdentityFolder:
    """One participant's identity on this machine."""

    def __init__(self, path: Path | str | None = None, *, ask: Passphrase = passphrase) -> None:
        self.path = Path(path) if path is not None else default_folder()
        # Both keys have the same passphrase: whoever types it types it once.
        self.passphrase = functools.cache(ask)
        self.key = self.path / "id.key"
        self.certificate = self.path / "id.crt"
        self.authority_key = self.path / "CA.key"
        self.authority_certificate = self.path / "CA.crt"
        self.client_certificates = self.path / "id"
        self.server_certificates = self.path / "server"
        self.known_servers = self.path / "known_servers"
        self.known_clients = self.path / "known_clients"
        self.authorities = self.path / "authorities"
        self.revoked = self.path / "revoked"
        self.policy = self.path / "policy.yaml"
        self.record = self.path / "issued.sqlite3"

    def require(self) -> IdentityFolder:
        """Give this folder back if an identity is in it.

        Raises:
            ConfigurationError: there is none.
        """
        if not self.key.exists():
            raise ConfigurationError(
                "there is no identity in this folder",
                mend="make one with `lclstream certified init`, or name another folder in "
                f"${FOLDER_VARIABLES[0]}",
                where=str(self.path),
            )
        return self

    @property
    def is_authority(self) -> bool:
        """Whether this identity can certify others."""
        return self.authority_key.exists()

    def read_key(self) -> PrivateKey:
        """The own private key; see `keys.read_key` for what is refused."""
        return read_key(self.require().key, self.passphrase)

    def read_authority_key(self) -> PrivateKey:
        """The own authority's private key."""
        return read_key(self.authority_key, self.passphrase)

    def own_certificate(self) -> x509.Certificate | None:
        """The certificate by the own authority, or None where there is none (a job's)."""
        return read_certificate_file(self.certificate) if self.certificate.exists() else None

    def read_authority(self) -> x509.Certificate:
        """The own authority's certificate.

        Raises:
            ConfigurationError: this identity has no authority.
        """
        if not self.authority_certificate.exists():
            raise ConfigurationError(
                "this identity has no authority of its own and cannot certify others",
                mend="use the folder of a person, organisation or service",
                where=str(self.path),
            )
        return read_certificate_file(self.authority_certificate)

    def certificates(self) -> list[Path]:
        """Every certificate file of the own key: the own authority's first."""
        files = [self.certificate] if self.certificate.exists() else []
        for folder in (self.client_certificates, self.server_certificates):
            files += sorted(folder.glob("*.crt")) if folder.is_dir() else []
        return files

    def credential(self, certificate: Path) -> Credential:
        """A certificate of this folder with the own key, for the TLS contexts."""
        return Credential(certificate, self.require().key, self.passphrase)
