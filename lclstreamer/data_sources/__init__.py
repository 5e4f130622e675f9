"""Data sources: each takes one thing from an event. `base` has the protocol."""
