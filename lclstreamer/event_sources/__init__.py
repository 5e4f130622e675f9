"""Event sources: where events come from. `base` has the protocol."""
