"""The one mapping from this project's errors to Airflow's.

An error that a retry may cure becomes an `AirflowException` (Airflow retries as the task says);
any other an `AirflowFailException`, so that Airflow does not burn retries on it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from lclstreamer.core.errors import LCLStreamError


def to_airflow(error: LCLStreamError) -> AirflowException:
    """Turn an error of this project into the Airflow exception with the same meaning."""
    kind = AirflowException if error.transient else AirflowFailException
    # The whole text: of a configuration it names every mistake and its place.
    return kind(error.render())


@contextlib.contextmanager
def airflow_failures() -> Generator[None]:
    """Inside this block, errors of this project leave as Airflow exceptions."""
    try:
        yield
    except LCLStreamError as error:
        raise to_airflow(error) from error
