"""LCLStreamer: per-event data sources → processing pipeline → serializer → handlers.

The data plane of the project: touches event data, knows no Airflow and serves no network API.
"""
