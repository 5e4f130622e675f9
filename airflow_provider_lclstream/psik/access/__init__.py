"""Ways to jobs: a folder on this machine, or a service over HTTP; the same verbs on both."""
