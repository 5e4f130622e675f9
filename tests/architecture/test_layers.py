"""Rules about imports that the linters' own languages cannot say, and that these gates are on."""

from __future__ import annotations

import ast
import subprocess
import tomllib

FACING_PARTS = (
    "hooks",
    "operators",
    "sensors",
    "triggers",
    "notifications",
    "links",
    "assets",
    "plugin",
)
AIRFLOW_FACING = ("dags/", *(f"airflow_provider_lclstream/{part}" for part in FACING_PARTS))

HEAVY = {
    "airflow", "confluent_kafka", "fastapi", "h5py", "hdf5plugin", "matplotlib", "mpi4py", "psana",
    "pynng", "torch", "zmq",
}  # fmt: skip


def imported(tree: ast.AST) -> set[str]:
    """The top-level packages imported anywhere below a node."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_only_the_modules_that_face_airflow_import_it(sources):
    guilty = [
        source.name
        for source in sources
        if "airflow" in imported(source.tree) and not source.name.startswith(AIRFLOW_FACING)
    ]
    assert guilty == []


def test_nothing_imports_the_dags(sources):
    dags = {source.name.split("/")[-1][:-3] for source in sources if source.name.startswith("dags")}
    guilty = [source.name for source in sources if imported(source.tree) & (dags | {"dags"})]
    assert guilty == []


def test_heavy_packages_are_banned_at_module_level(repository):
    settings = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    banned = set(settings["flake8-tidy-imports"]["banned-module-level-imports"])
    assert banned >= HEAVY


def test_core_needs_nothing_but_the_standard_library_to_be_imported(repository, venv_bin):
    program = (
        "import sys, pkgutil, importlib, lclstreamer.core as core\n"
        "for module in pkgutil.iter_modules(core.__path__):\n"
        "    importlib.import_module('lclstreamer.core.' + module.name)\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    loaded = subprocess.run(
        [venv_bin / "python", "-S", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=repository,
        timeout=30,
    ).stdout.split()
    assert set(loaded) <= {"lclstreamer", "__main__"}


def test_the_layers_hold(repository, venv_bin):
    checked = subprocess.run(
        [venv_bin / "lint-imports"],
        capture_output=True,
        text=True,
        check=False,
        cwd=repository,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout[-3000:]
