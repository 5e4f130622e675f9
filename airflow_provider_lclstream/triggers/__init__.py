"""Triggers: waiting in Airflow's triggerer."""
