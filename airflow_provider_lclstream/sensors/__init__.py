"""Sensors: tasks that only wait."""
