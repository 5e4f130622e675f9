"""Hooks: from Airflow's connections to this project's parts."""
