"""What is used of prometheus_client beyond its public interface."""

from __future__ import annotations

from prometheus_client import values


def name_files_by(number: str) -> None:
    """Name this process's files of metrics by a number instead of its process id.

    So files are used again, and don't grow in number. The library offers this for a function that returns the
    id (MultiProcessValue), but no public way to set it.
    """
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]
