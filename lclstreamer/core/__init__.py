"""The floor: errors, configuration files, units, logs, metric names and output.

Imports nothing of this project and, at import, nothing heavier than the standard library.
"""
