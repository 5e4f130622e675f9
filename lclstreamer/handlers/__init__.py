"""Handlers: where a rank's messages go."""
