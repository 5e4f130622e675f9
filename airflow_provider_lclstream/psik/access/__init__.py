"""Access to jobs, in a folder on this machine or on a service: the same verbs on both.

::

    base       the verbs                           folder    jobs in a folder
    places     where a service is                  service   jobs on one
    question   a request and its answer            folder_async, service_async   for event loops
    questions  every request of /v4                refusals  what errors mean
    rounds     how often to ask
"""
