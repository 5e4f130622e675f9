"""Everything a laptop needs in place of a beamline: broker, logbook, run, Airflow, pictures."""
