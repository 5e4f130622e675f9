"""What runs jobs. Each kind has a module with a class that implements `base.Backend`.

::

    local                     this machine
    slurm, ssh_slurm          slurm_options slurm_states commands scheduled
    psik                      psik_settings, psik_ours (/v4); psik_upstream psik_carrier psik_signs
    iri, sfapi                iri_spec sfapi_statement sfapi_token facility facility_secrets
    results                   what comes back from a service
    guarded                   keeps one backend's mistakes from the others

Installed packages add kinds through the entry-point group ``lclstream.psik_backends``.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, cast

from airflow_provider_lclstream.psik.backends.guarded import GuardedBackend
from lclstreamer.core.errors import ConfigurationError

if TYPE_CHECKING:
    from airflow_provider_lclstream.psik.backends.base import Backend
    from airflow_provider_lclstream.psik.models import BackendConfig

ENTRY_POINT_GROUP = "lclstream.psik_backends"
KINDS = {
    "local": "airflow_provider_lclstream.psik.backends.local:LocalBackend",
    "slurm": "airflow_provider_lclstream.psik.backends.slurm:SlurmBackend",
    "psik": "airflow_provider_lclstream.psik.backends.psik:PsikBackend",
    "ssh-slurm": "airflow_provider_lclstream.psik.backends.ssh_slurm:SshSlurmBackend",
    "iri": "airflow_provider_lclstream.psik.backends.iri:IriBackend",
    "sfapi": "airflow_provider_lclstream.psik.backends.sfapi:SfapiBackend",
}
"""Type name → ``module:class``, imported on use."""


def open_backend(name: str, config: BackendConfig, prefix: Path) -> Backend:
    """Make the backend that a configuration asks for.

    Raises:
        ConfigurationError: no backend has this type, or its settings are wrong.
    """
    target = KINDS.get(config.type)
    if target is not None:
        module, _, kind = target.partition(":")
        backend = getattr(import_module(module), kind)(name, config, prefix)
        return _guarded(name, backend)
    added = {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP)}
    if config.type in added:
        return _guarded(name, added[config.type].load()(name, config, prefix))
    known = sorted({*KINDS, *added})
    close = difflib.get_close_matches(config.type, known, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ConfigurationError(
        f"backend {name!r} has the unknown type {config.type!r}",
        mend=f"{hint}the types are {', '.join(known)}",
    )


def _guarded(name: str, backend: Backend) -> Backend:
    # `Backend` also says how one is made, which is done by now.
    return cast("Backend", GuardedBackend(name, backend))
