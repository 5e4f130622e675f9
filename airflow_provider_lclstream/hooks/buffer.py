"""The buffer's admin port, as far as Airflow needs it."""

from __future__ import annotations

import urllib.error
import urllib.request

from lclstreamer.core.errors import UnavailableError

TIMEOUT_SECONDS = 10.0


def drain(admin_url: str) -> None:
    """Tell a buffer that no more producers come: it empties itself, writes its ledger and ends.

    Raises:
        UnavailableError: nobody answers there.
    """
    request = urllib.request.Request(f"{admin_url.rstrip('/')}/drain", method="POST", data=b"")  # noqa: S310
    # No proxy: the buffer stands inside the site, often on the loopback interface.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_SECONDS):
            pass
    except (urllib.error.URLError, OSError) as error:
        raise UnavailableError(
            f"the buffer's admin port does not answer: {error}",
            where=admin_url,
            mend="see in the log of the buffer's job whether it still runs",
        ) from error
