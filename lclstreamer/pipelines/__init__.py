"""Pipelines: events in, batches out."""
