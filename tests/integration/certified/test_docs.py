"""The how-to pages that need identities, followed literally, by two parties in two folders."""

from __future__ import annotations

import json
import os
import re
import shutil
import time

import pytest
from identities import LOOPBACK

BLOCK = re.compile(r"```bash\n# ([^\n]*)\n(.*?)```", re.DOTALL)
REVOKED_WITHIN_SECONDS = 5
WHO = "airflow_provider_lclstream.certified.who:app"


@pytest.fixture
def follow(repository, processes, tmp_path, wait_for, free_port, venv_bin):
    """Run the blocks of a page, each as the party that its first line names."""
    ports = {port: str(free_port()) for port in ("4433", "4434", "8080")}

    def here(text: str) -> str:
        text = text.replace("psik.example.org", LOOPBACK)
        return re.sub(r"(?<=:)(4433|4434|8080)\b", lambda found: ports[found[0]], text)

    def run(who: str, commands: str):
        party, _, how = who.partition(", ")
        words = ["bash", "-euc", here(commands)]
        options = {
            "cwd": tmp_path,
            "environment": {
                "LCLSTREAM_IDENTITY": str(tmp_path / party.replace(" ", "-")),
                "PATH": f"{venv_bin}:{os.environ['PATH']}",
            },
        }
        if how == "in the background":
            running = processes.start(words, **options)
            wait_for(
                lambda: "startup complete" in running.stderr or "listening" in running.stdout,
                what=running.stderr,
            )
            return running
        done = processes.run(words, **options)
        expected = 69 if how == "refused" else 0
        deadline = time.monotonic() + REVOKED_WITHIN_SECONDS
        while how == "refused" and done.process.returncode == 0 and time.monotonic() < deadline:
            done = processes.run(words, **options)
        assert done.process.returncode == expected, (who, commands, done.stdout, done.stderr)
        return done

    def page(name: str):
        text = (repository / "docs" / "how-to" / name).read_text()
        blocks = BLOCK.findall(text)
        assert len(blocks) == text.count("```bash"), "every block says whose it is"
        return [run(*block) for block in blocks]

    page.run = run
    return page


def test_a_user_meets_a_facility(follow):
    follow.run(
        "the facility", "lclstream certified init --org Lab --unit psik --host psik.example.org"
    )
    follow.run(
        "the facility, in the background",
        f"exec lclstream certified serve {WHO} https://psik.example.org:4433",
    )
    answers = follow("meet-a-facility.md")
    written, _, who = answers[2].stdout.partition("{")
    assert "known_servers/psik.yaml" in written
    assert json.loads("{" + who)["principal"] == "uid:alice"
    assert "nothing is wrong" in answers[3].stdout


def test_a_service_is_born(follow, tmp_path):
    answers = follow("offer-a-service.md")
    who = answers[-1].stdout
    assert '"principal": "uid:alice"' in who
    renewed = [line for line in who.splitlines() if "valid until" in line]
    assert len(renewed) == 2
    assert any("psik" in line for line in renewed)


def test_a_certificate_is_lost(follow):
    follow.run(
        "the facility", "lclstream certified init --org Lab --unit psik --host psik.example.org"
    )
    follow.run(
        "the facility, in the background",
        f"exec lclstream certified serve {WHO} https://psik.example.org:4433",
    )
    follow.run("you", "lclstream certified init Alice --uid alice\n"
               "lclstream certified request -o alice.csr")  # fmt: skip
    follow.run(
        "the facility",
        "lclstream certified introduce alice.csr --uid alice "
        "--knows psik=https://psik.example.org:4433 > alice.json",
    )
    follow.run("you", "lclstream certified add-introduction alice.json\nlclstream message psik/who")
    answers = follow("lose-a-certificate.md")
    assert "revoked" in answers[0].stdout
    assert '"principal": "uid:alice"' in answers[-1].stdout


def test_jobs_from_a_laptop(follow, tmp_path):
    follow.run(
        "the facility",
        "lclstream certified init --org Lab --unit psik --host psik.example.org\n"
        f"""echo '{{"prefix": "{tmp_path}/jobs", "backends": {{"mfx": {{}}}}}}' > psik.json""",
    )
    follow.run(
        "the facility, in the background",
        "exec lclstream psik serve https://psik.example.org:4433 --config psik.json",
    )
    follow.run("you", "lclstream certified init Alice --uid alice\n"
               "lclstream certified request -o alice.csr")  # fmt: skip
    follow.run(
        "the facility",
        "lclstream certified introduce alice.csr --uid alice "
        "--knows psik=https://psik.example.org:4433 > alice.json",
    )
    follow.run("you", "lclstream certified add-introduction alice.json")
    backends, waited, rest = follow("jobs-from-your-laptop.md")
    assert backends.stdout.split()[:2] == ["mfx", "local"]
    assert '"owner": "uid:alice@' in backends.stdout
    assert "completed" in waited.stdout
    assert rest.stdout.startswith("hello from ")
    assert "result.json" in rest.stdout
    assert json.loads((tmp_path / "results" / "result.json").read_text()) == {"answer": 42}
    assert len([path for path in (tmp_path / "jobs").iterdir() if path.name[0].isdigit()]) == 1


def test_a_facility_runs_a_job_service(follow, repository, tmp_path):
    shutil.copy(repository / "docs" / "examples" / "callback-receiver.py", tmp_path)
    answers = follow("run-a-job-service.md")
    done = [answer.stdout for answer in answers]
    assert "mfx" in done[0]
    assert "login-node" in done[0]
    assert done[5].split()[-2:] == ["mfx", "local"]
    assert '"status":"ok"' in done[6]
    assert 'lclstream_jobs_known_jobs{state="new"} 0' in done[6]
    assert done[9].split()[-3:] == ["queued", "active", "completed"]
    assert "completed" in done[10]
