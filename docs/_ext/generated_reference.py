"""Write the reference pages that the code itself knows best, before Sphinx reads the pages.

Configuration, command lines, metrics, states and errors come from the models, the programs and
the tables, so these pages cannot drift from what is installed.
"""

import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from markdown_tables import model_section, schema_page, table

PROGRAMS = ("lclstream", "lclstreamer", "nng-stream")
VERB_LINE = re.compile(r"^(?:│ |  )([a-z][a-z0-9-]*) {2,}\S")
ARGUMENT = re.compile(r"^    (\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def configuration_page() -> str:
    """The streamer's configuration file."""
    from lclstreamer.parameters.configuration import StreamerConfiguration

    intro = (
        "Every key of the file that `lclstreamer run -c FILE` reads. `lclstreamer check FILE` "
        "says what is wrong with one, `lclstreamer schema` prints the JSON Schema for editors."
    )
    return schema_page("The streamer's configuration", intro, StreamerConfiguration)


def transfer_page() -> str:
    """The request for a transfer, and a site's settings."""
    from airflow_provider_lclstream.transfer.models import TransferRequest

    intro = (
        "What the DAG `lclstream_transfer` takes as its configuration: from the trigger form, "
        "from REST and from run events alike. `streamer` is [a streamer's "
        "configuration](configuration.md) without `data_handlers`."
    )
    schema = TransferRequest.model_json_schema()
    section = model_section("TransferRequest", schema)
    section = section.replace("(#streamer", "(configuration.md#streamer")
    return f"# A transfer request\n\n{intro}\n\n{section}"


def buffer_page() -> str:
    """The buffer's settings."""
    from nng_stream.settings import BufferSettings

    intro = (
        "What `nng-stream run --config FILE` reads. The options of the command line have the same "
        "meaning and win."
    )
    return schema_page("The buffer's settings", intro, BufferSettings)


def rules_page() -> str:
    """The rules file."""
    from airflow_provider_lclstream.arp.rules import RuleBook

    intro = "Which runs are streamed, and how. `lclstream arp check FILE` tries one."
    return schema_page("The rules file", intro, RuleBook)


def jobs_page() -> str:
    """What a job is."""
    from airflow_provider_lclstream.psik.models import JobSpec

    intro = "What `lclstream psik run FILE` takes, and what a job's `spec.json` holds."
    return schema_page("A job's specification", intro, JobSpec)


def job_service_page() -> str:
    """The service's configuration file."""
    from airflow_provider_lclstream.psik_api.settings import ServiceConfig

    intro = (
        "What `lclstream psik serve --config FILE` reads, YAML or JSON. Without `policy` and what "
        "follows it is the `psik.json` of a folder of jobs."
    )
    return schema_page("A job service's configuration", intro, ServiceConfig)


def psik_api_page() -> str:
    """The service's requests, and its OpenAPI document."""
    from airflow_provider_lclstream.psik_api.app import create_app
    from airflow_provider_lclstream.psik_api.settings import ServiceConfig

    with tempfile.TemporaryDirectory() as prefix:
        document = create_app(ServiceConfig(prefix=Path(prefix))).openapi()
    rows = [
        (f"`{method.upper()}`", f"`{path}`", (request.get("description") or "").split("\n\n")[0])
        for path, methods in document["paths"].items()
        for method, request in methods.items()
    ]
    return (
        "# The job service's requests\n\nWhat `lclstream psik serve` answers. `/v2` and `/v3` are "
        "upstream's dialects. A running service shows this at `/docs` and `/openapi.json`.\n\n"
        + table(("method", "path", "what it does"), rows)
        + "\n## OpenAPI\n\n```json\n"
        + json.dumps(document, indent=1, sort_keys=True)
        + "\n```\n"
    )


def site_page() -> str:
    """A site's settings."""
    from airflow_provider_lclstream.transfer.site import SiteSettings

    intro = "The YAML file that `LCLSTREAM_SITE_FILE` names. Without one everything runs here."
    return schema_page("A site's settings", intro, SiteSettings)


def help_of(command: str) -> str:
    """What a program prints with ``--help``."""
    program, *words = command.split()
    done = subprocess.run(
        [Path(sys.executable).parent / program, *words, "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "88", "NO_COLOR": "1", "TERM": "dumb"},
        timeout=120,
        check=True,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines())


def verbs_in(text: str) -> list[str]:
    """The verbs that a help text lists: below "Commands", or all of the umbrella's."""
    _, found, below = text.partition("Commands")
    lines = (below if found else text).splitlines()
    return [match[1] for line in lines if (match := VERB_LINE.match(line))]


def command_page() -> str:
    """The help of every program and each of its verbs, found by asking."""
    texts: dict[str, str] = {}
    asked = list(PROGRAMS)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while asked:
            answers = dict(zip(asked, pool.map(help_of, asked), strict=True))
            texts |= answers
            asked = [
                f"{command} {verb}" for command, text in answers.items() for verb in verbs_in(text)
            ]
    sections = [f"## `{command}`\n\n```text\n{texts[command]}\n```\n" for command in sorted(texts)]
    return "# Command lines\n\nWhat each program prints when asked for help.\n\n" + "\n".join(
        sections
    )


def metrics_page() -> str:
    """The one list of metrics."""
    from lclstreamer.core.metrics import METRICS

    rows = [(f"`{m.name}`", m.kind, ", ".join(m.labels), m.help) for m in METRICS]
    return "# Metrics\n\nFor Prometheus, from `/metrics` of the long-lived programs.\n\n" + table(
        ("name", "kind", "labels", "meaning"), rows
    )


def errors_page() -> str:
    """Every exit code."""
    from lclstreamer.core import errors

    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.LCLStreamError)
    ]
    rows = [
        (
            str(kind.exit_code),
            f"`{kind.__name__}`",
            "yes" if kind.transient else "no",
            kind.__doc__ or "",
        )
        for kind in sorted(kinds, key=lambda kind: kind.exit_code)
        if kind is not errors.LCLStreamError
    ]
    return (
        "# Errors and exit codes\n\n"
        "Every error says what is wrong and what to do about it (`mend:`). With `--json` it is an "
        "RFC 9457 problem object on standard output. The codes are those of BSD's `sysexits.h`; "
        "*again* says whether trying again can help.\n\n"
        + table(("exit code", "error", "again", "meaning"), rows)
    )


def states_page() -> str:
    """The life of a transfer and of a job, from their tables."""
    from airflow_provider_lclstream.psik.states import JobState, diagram
    from airflow_provider_lclstream.transfer.diagram import mermaid
    from airflow_provider_lclstream.transfer.states import JOINT, State

    def words(cell: Any) -> str:
        return "any" if set(cell) == set(type(next(iter(cell)))) else ", ".join(sorted(cell))

    rules = [
        (
            words(rule.owner),
            words(rule.buffer),
            words(rule.streamer),
            f"**{rule.state}**",
            ", ".join(rule.instructions),
            rule.why,
        )
        for rule in JOINT
    ]
    final = ", ".join(f"`{state}`" for state in State if state.is_final)
    return (
        "# States\n\n## A transfer\n\n```{mermaid}\n"
        + mermaid()
        + f"```\n\nFinal states: {final}. Three roles are read together; the first row that fits "
        "gives the transfer's state and what has to be done.\n\n"
        + table(("owner", "buffer", "streamer", "transfer", "to do", "why"), rules)
        + "\n## A job\n\n```{mermaid}\n"
        + diagram()
        + "```\n\nFinal states: "
        + ", ".join(f"`{state}`" for state in JobState if state.is_final)
        + ".\n"
    )


def arguments_section(kind: type) -> str:
    """A class for writers of DAGs: what it does and takes, with what its bases here take."""
    meanings, defaults = dict[str, str](), dict[str, str]()
    for each in kind.__mro__:
        if not each.__module__.startswith("airflow_provider_lclstream"):
            continue
        for name, text in ARGUMENT.findall(plain_doc(each).partition("Args:\n")[2]):
            meanings.setdefault(name, " ".join(text.split()).replace("``", "`"))
        for name, parameter in inspect.signature(each).parameters.items():
            needed = parameter.default is inspect.Parameter.empty
            defaults.setdefault(name, "required" if needed else f"`{parameter.default!r}`")
    text = plain_doc(kind).partition("Args:\n")[0].strip().replace("``", "`")
    rows = [(f"`{n}`", defaults[n], meaning) for n, meaning in meanings.items() if n in defaults]
    return (
        f"## {kind.__name__}\n\n`from {kind.__module__} import {kind.__name__}`\n\n{text}\n\n"
        + table(("argument", "default", "meaning"), rows)
    )


def plain_doc(thing: Any) -> str:
    """The docstring of a class or function, without indentation."""
    return inspect.cleandoc(thing.__doc__ or "")


def verbs_section(kind: type) -> str:
    """The methods of a class, each with its first line."""
    rows: list[tuple[str, str]] = []
    for name, verb in vars(kind).items():
        if inspect.isfunction(verb) and not name.startswith("_"):
            words = [
                str(each).partition(":")[0] + ("" if each.default is each.empty else "=…")
                for each in list(inspect.signature(verb).parameters.values())[1:]
            ]
            rows.append(
                (
                    f"`{name}({', '.join(words)})`",
                    plain_doc(verb).partition("\n")[0].replace("``", "`"),
                )
            )
    return table(("verb", "what it does"), rows)


def airflow_page() -> str:
    """What Airflow discovers, and what writers of DAGs use."""
    from airflow_provider_lclstream.get_provider_info import get_provider_info
    from airflow_provider_lclstream.hooks.psik import PsikHook
    from airflow_provider_lclstream.operators.psik import PsikJobOperator
    from airflow_provider_lclstream.psik.access.base import JobAccess
    from airflow_provider_lclstream.sensors.psik import PsikJobSensor

    info = get_provider_info()
    modules = [
        (kind, f"`{module}`")
        for kind in ("hooks", "operators", "sensors", "triggers")
        for entry in info.get(kind, ())
        for module in entry["python-modules"]
    ]
    fields = [
        (f"`{kind['connection-type']}`", f"`{name}`", field.get("description", ""))
        for kind in info.get("connection-types", ())
        for name, field in kind.get("conn-fields", {}).items()
    ]
    options = [
        (f"`{name}`", option["type"], f"`{option['default']}`", option["description"])
        for name, option in info["config"]["lclstream"]["options"].items()
    ]
    return (
        "# Airflow\n\nWhat Airflow discovers when the package is installed beside it.\n\n"
        "## Modules\n\n"
        + table(("kind", "module"), modules)
        + "\n## Fields of connections\n\n"
        + table(("connection type", "field in `extra`", "meaning"), fields)
        + "\n## Options\n\nIn the section `[lclstream]` of `airflow.cfg`, or in the environment as "
        "`AIRFLOW__LCLSTREAM__NAME`.\n\n"
        + table(("option", "type", "default", "meaning"), options)
        + "".join(
            f"\n{arguments_section(each)}" for each in (PsikJobOperator, PsikJobSensor, PsikHook)
        )
        + "\n`with PsikHook().opened() as jobs:` gives the jobs, wherever they are kept:\n\n"
        + verbs_section(JobAccess)
    )


PAGES = {
    "configuration": configuration_page,
    "buffer": buffer_page,
    "transfer": transfer_page,
    "rules": rules_page,
    "jobs": jobs_page,
    "job-service": job_service_page,
    "psik-api": psik_api_page,
    "site": site_page,
    "airflow": airflow_page,
    "commands": command_page,
    "metrics": metrics_page,
    "errors": errors_page,
    "states": states_page,
}


def write_pages(app: Any) -> None:
    """Write each page whose content changed."""
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        target, text = folder / f"{name}.md", make()
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            target.write_text(text, encoding="utf-8")


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
