"""`python -m airflow_provider_lclstream.sim`: the single parts of the demo."""

import sys

from airflow_provider_lclstream.sim.cli import sim_command
from lclstreamer.core.output import run_command

if __name__ == "__main__":
    sys.exit(run_command(lambda: sim_command(sys.argv[1:])))
