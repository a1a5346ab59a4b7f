"""The private part of prometheus_client that the service uses."""

from __future__ import annotations

from prometheus_client import values


def name_files_by(number: str) -> None:
    """Name this process's metrics files after a number instead of its process id.

    Then a successor reuses the files, and their number doesn't grow. The library's MultiProcessValue takes a
    function that returns the id, but there is no public way to install it.
    """
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
