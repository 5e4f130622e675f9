"""What becomes of memory that is freed."""

from __future__ import annotations

import os

KEPT_BYTES = 256 << 20
"""So much free memory is kept at the end of the heap."""
LARGEST_KEPT_BYTES = 32 << 20
"""Pieces above this size always go back to the kernel; glibc takes no higher limit."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_OWN_CHOICES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Have the C library keep freed memory for the next event instead of returning it.

    Each event allocates and frees megabytes, and by its own rule glibc gives them back to the
    kernel time and again: with compression that was a third of all the work.

    Returns:
        Whether it does now: not if the environment chooses itself, or on another C library.
    """
    if any(name in os.environ for name in _OWN_CHOICES):
        return False
    import ctypes

    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is None:
        return False
    keeps_end = set_option(_TRIM_THRESHOLD, KEPT_BYTES)
    return bool(set_option(_MMAP_THRESHOLD, LARGEST_KEPT_BYTES) and keeps_end)
