"""Jobs as folders: a `JobSpec`, run by a backend, with a history that stays true.

::

    models     what a job is (pydantic)            store      a prefix full of job folders
    states     the table of valid transitions      job        one job: submit, cancel, reconcile
    state_log  status.csv, append-only             handover   submits to a backend, cancels there
    layout     the file names in a job folder      backends/  local, slurm, psik, iri, ...
    notes      owner, remarks, console             runner     the small process around a script
    facts      what is reported about a job        endings    from exit code and signal to a state
    reached    `lclstream psik reached`            access/    the same verbs, here or on a service
    cli        the light entry point               callbacks/ delivery of state changes
    config     finding and reading psik.json       command_line/  the verbs of `lclstream psik`

`states`, `layout`, `state_log`, `processes`, `local_queue`, `endings`, `runner` and `reached`
import only the standard library and each other, because they run inside every job.
"""
