"""Import a file of another product for a user, as POST /api/import does."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import BinaryIO
from uuid import UUID

import psycopg

from chat_api.commands.data.queries import Queries
from chat_api.commands.errors import FailedError
from chat_api.commands.numbers import counted
from chat_api.importing.formats import own
from chat_api.importing.importing import Import, Prepared
from chat_api.importing.limits import PIECE_BYTES, UnreadableError
from chat_api.importing.report import Report
from chat_api.settings import Settings

MOST_UNPACKED_BYTES = 1 << 40
"""Of a zip: an operator chose the file, so only its disk bounds it."""

_OWN = re.compile(rb'\s*\{\s*"type"\s*:\s*"(?:%s)"' % "|".join(own.KINDS).encode())
_FOREIGN = re.compile(rb"\s*(?:[\[{]|\0[\[{]|PK|\xef\xbb\xbf|\xfe\xff|\xff\xfe)")


def is_own(file: BinaryIO) -> bool:
    """Whether a file is an export of this service, by its first line, or nothing that is known at all."""
    head = file.peek(1)  # type: ignore[attr-defined]
    return _OWN.match(head) is not None or _FOREIGN.match(head) is None


def bring_along(session: Queries, user_id: UUID, file: BinaryIO, settings: Settings) -> Report:
    """Add the conversations of a file that aren't there yet, each in a transaction of its own.

    Raises:
        FailedError: no conversation was found in the file, or the database broke off.
    """
    days = settings.retention_days
    course = Import(
        user_id,
        most_bytes=MOST_UNPACKED_BYTES,
        kept_from=datetime.now(UTC) - timedelta(days=days) if days else None,
        keeps_favourites=settings.retention_favourites == "keep",
    )
    progress = _Progress(file)
    try:
        for piece in iter(lambda: file.read(PIECE_BYTES), b""):
            _store(session, course, course.feed(piece))
            progress.tell(len(piece))
        _store(session, course, course.finish())
    except UnreadableError as error:
        if not course.report.has_found:
            raise FailedError(f"nothing was imported: {error}") from error
        course.stop(error)
    except psycopg.OperationalError as error:
        done = counted(course.report.added, "conversation")
        raise FailedError(
            f"the database broke off: {error}; {done} imported so far. Import the file again for the rest"
        ) from error
    finally:
        progress.end()
    if not course.report.has_found:
        raise FailedError("nothing was imported: there is no conversation in this file")
    return course.report


def _store(session: Queries, course: Import, found: Iterator[Prepared]) -> None:
    for prepared in found:
        outcome, messages = _add(session, prepared)
        if outcome == "taken":
            outcome, messages = _add(session, prepared)
        course.stored(prepared, outcome, messages)


def _add(session: Queries, prepared: Prepared) -> tuple[str, int]:
    try:
        row = session.row("imports.add", **prepared.parameters)
    except (psycopg.DataError, psycopg.IntegrityError):
        return "refused", 0
    return row["outcome"], row["messages"]


class _Progress:
    """A percentage on the terminal, if there is one."""

    def __init__(self, file: BinaryIO) -> None:
        about = os.fstat(file.fileno())
        self._whole = about.st_size if stat.S_ISREG(about.st_mode) and sys.stderr.isatty() else 0
        self._done = 0
        self._shown = -1

    def tell(self, size: int) -> None:
        """Count bytes that are done."""
        self._done += size
        percent = 100 * self._done // self._whole if self._whole else -1
        if percent > self._shown:
            self._shown = percent
            sys.stderr.write(f"\r{percent} %")
            sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._shown >= 0:
            sys.stderr.write("\r     \r")
            sys.stderr.flush()
