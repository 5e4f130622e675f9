"""An identity at a glance, for `lclstream certified show`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from airflow_provider_lclstream.certified.encoding import read_certificate_file
from airflow_provider_lclstream.certified.folder import IdentityFolder
from airflow_provider_lclstream.certified.trust import read_service, service_names
from lclstreamer.core.errors import LCLStreamError
from lclstreamer.transport.peer import identity_of
from lclstreamer.transport.tls_files import authority_files


def overview(folder: IdentityFolder) -> dict[str, Any]:
    """The facts: certificates, services, authorities of clients and servers."""
    services: dict[str, Any] = {}
    for alias in service_names(folder):
        service = read_service(folder, alias)
        if service is not None:
            services[alias] = asdict(service)
    return {
        "folder": str(folder.path),
        "is_authority": folder.is_authority,
        "certificates": {
            str(path.relative_to(folder.path)): identity_of(read_certificate_file(path)).to_json()
            for path in folder.certificates()
        },
        "services": services,
        "known_clients": _authorities(folder, "known_clients"),
        "known_servers": _authorities(folder, "known_servers"),
    }


def _authorities(folder: IdentityFolder, place: str) -> dict[str, str]:
    found: dict[str, str] = {}
    path = folder.path / place
    for file in authority_files(path) if path.is_dir() else ():
        try:
            found[file.stem] = identity_of(read_certificate_file(file)).subject
        except LCLStreamError as error:
            found[file.stem] = error.problem
    return found


def render(facts: dict[str, Any]) -> str:
    """The same for people."""
    lines = [facts["folder"] + (" (an authority)" if facts["is_authority"] else "")]
    for file, one in facts["certificates"].items():
        roles, until = " and ".join(one["roles"]), one["not_after"][:10]
        lines.append(f"  {one['principal']} as {roles}, until {until}, by {one['issuer']}")
        lines.append(f"    {file}  serial {one['serial']}")
    for alias, service in facts["services"].items():
        lines.append(f"  service {alias}: {service['url']}")
    for title, place in (("clients of", "known_clients"), ("servers of", "known_servers")):
        for name, subject in facts[place].items():
            lines.append(f"  trusts {title} {name}: {subject}")
    return "\n".join(lines)
