"""What upstream's psik_api is given to run: a carrier for the script, which tells the truth itself.

That service may pipe a script to its interpreter, forget how it ended, cancel the shell around it
but not the script, or leave it ``active`` for ever. The carrier needs none of it: it unpacks the
job's files, runs the script once, from its file, with nothing on standard input and in a session of
its own, holds it to its time limit, ends it when `CANCEL` appears, and leaves behind how it ended.
It is bash and wants ``tar`` and ``setsid``, as every Linux has. Pure but for the tar it writes.
"""

from __future__ import annotations

import io
import math
import shlex
import tarfile
from pathlib import Path

from airflow_provider_lclstream.psik.models import JobSpec

FOLDER = ".lclstream"
"""The carrier's folder in the job's work folder; whoever makes it runs the script."""
INPUT, CANCEL = ".lclstream.tar", ".lclstream.cancel"
"""Files beside it: what the job needs; a wish that it ends."""
ALIVE, RESULT, RESULTS = "alive", "result.json", "results.tar"
"""Files in it: touched while the script runs; how it ended; what it left."""
BEAT_SECONDS = 10

_CARRIER = r"""#!/usr/bin/env bash
# Runs the job in .lclstream.tar, once, and leaves in .lclstream how it ended. Made by lclstream.
limit={limit} grace={grace} deadline=
status=126 asked=false late=false problem=
trap 'asked=true' TERM INT HUP
mkdir .lclstream 2>/dev/null || exit 0
finish() {{
  local number=null code=$status
  if [ "$status" -gt 128 ] && [ "$status" -le 192 ]; then number=$((status - 128)) code=null; fi
  tar -cf .lclstream/packed --exclude=./.lclstream --exclude='./.lclstream.*' . 2>/dev/null
  [ $? -le 1 ] && tar -rf .lclstream/packed .lclstream/stdout .lclstream/stderr &&
    mv .lclstream/packed .lclstream/results.tar || : ${{problem:=its results were not packed}}
  printf '{{"exit_code":%s,"signal":%s,"wall_seconds":%s,"asked_to_end":%s,' \
    $code $number $SECONDS $asked >.lclstream/noted
  printf '"reached_time_limit":%s,"problem":"%s"}}\n' $late "$problem" >>.lclstream/noted
  mv .lclstream/noted .lclstream/result.json
  kill $beater 2>/dev/null
  exit "$status"
}}
: >.lclstream/stdout >.lclstream/alive
: >.lclstream/stderr
(while kill -0 $$; do : >.lclstream/alive; sleep {beat}; done) </dev/null >/dev/null 2>&1 &
beater=$!
if [ $asked = true ] || [ -e .lclstream.cancel ]; then asked=true; finish; fi
if ! tar -xf .lclstream.tar; then problem='its files cannot be unpacked'; finish; fi
rm -f .lclstream.tar
session=$(command -v setsid)
(. .lclstream/settings && exec "$session" "${{command[@]}}") \
  </dev/null >.lclstream/stdout 2>.lclstream/stderr &
pid=$!
while kill -0 $pid 2>/dev/null; do
  [ -e .lclstream.cancel ] && asked=true
  [ $asked = false ] && [ $SECONDS -ge $limit ] && late=true
  if [ $asked$late != falsefalse ]; then
    [ -n "$deadline" ] && [ $SECONDS -ge $deadline ] && signal=KILL || signal=TERM
    kill -$signal -- -$pid 2>/dev/null || kill -$signal $pid
    : ${{deadline:=$((SECONDS + grace))}}
  fi
  sleep 1 >/dev/null 2>&1 &
  wait -n $pid $! 2>/dev/null
done
wait $pid
status=$?
kill -KILL -- -$pid 2>/dev/null
finish
"""


def carrier(spec: JobSpec, grace_seconds: float) -> str:
    """The script that the service is given."""
    limit, grace = math.ceil(spec.resources.duration_seconds), math.ceil(grace_seconds)
    return _CARRIER.format(limit=limit, grace=grace, beat=BEAT_SECONDS)


def pack(spec: JobSpec, work: Path, target: Path) -> None:
    """Write the tar that the carrier unpacks: the script, its environment, the job's files."""
    script = spec.script if spec.script.endswith("\n") else spec.script + "\n"
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, text in (("script", script), ("settings", _settings(spec))):
            content = text.encode()
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size, member.mode = len(content), 0o700
            tar.addfile(member, io.BytesIO(content))
        for path in sorted(work.rglob("*")):
            if path.is_file() and not path.is_symlink():
                tar.add(
                    path, path.relative_to(work).as_posix(), recursive=False, filter=_without_owner
                )


def place_of(member: str, jobndx: int) -> tuple[str, str] | None:
    """Where a member of `RESULTS` belongs: ``log`` or ``work``, and the path below; or nowhere."""
    name = member.removeprefix("./")
    top, _, rest = name.partition("/")
    if top == FOLDER:
        return ("log", f"{rest}.{jobndx}") if rest in {"stdout", "stderr"} else None
    return ("work", name) if name and not top.startswith(f"{FOLDER}.") else None


def _settings(spec: JobSpec) -> str:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in spec.environment.items()]
    # A first line that names an interpreter is the kernel's to read.
    interpreter = "" if spec.script.startswith("#!") else '"$BASH" '
    lines.append(f'command=({interpreter}"$PWD/{FOLDER}/script")')
    return "\n".join(lines) + "\n"


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
