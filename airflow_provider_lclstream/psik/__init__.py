"""Jobs as folders: described by a `JobSpec`, run by a backend, true to what happened.

::

    models     what a job is (pydantic)            store      a prefix full of job folders
    states     the checked transition table        job        one job: submit, cancel, reconcile
    state_log  status.csv, append-only             backends/  who runs it: local, slurm, ...
    layout     the names inside a job folder       handover   what a job's backend is told
    facts      what is told of a job               runner     the small process around a script
    notes      remarks, owner, console             access/    the verbs, here or on a service
    reached    `lclstream psik reached`, quick     callbacks/ who is told of every state
    cli        the way in, light                   command_line/  the verbs of `lclstream psik`

`states`, `layout`, `state_log`, `processes`, `local_queue`, `runner` and `reached` import nothing
but the standard library and each other: they run inside every job, and a job should start at once.
"""
