"""The course of an import: the file is read as it comes, and each conversation is stored when it is whole."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import structlog
from aiohttp import BodyPartReader, web

from chat_api import errors
from chat_api.http.context import DATABASE, GENERATIONS, PRINCIPAL, SETTINGS
from chat_api.http.requests import respond
from chat_api.importing.importing import Import, Prepared
from chat_api.importing.limits import PIECE_BYTES, UnreadableError

log = structlog.get_logger(__name__)

LINES = "application/x-ndjson"
PROGRESS_SECONDS = 1


class _Progress:
    """Tells the client how far it is, if it wants to know."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.is_wanted = LINES in request.headers.get("Accept", "")
        self._response: web.StreamResponse | None = None
        self._next = time.monotonic() + PROGRESS_SECONDS
        self.bytes = 0

    async def tell(self, course: Import) -> None:
        """Send a line, if it is time for one."""
        transport = self._request.transport
        # A browser reads nothing before it has sent all, so nothing may wait for it to do so.
        is_read = transport is not None and not transport.get_write_buffer_size()
        if not self.is_wanted or not is_read or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PROGRESS_SECONDS
        whole = self._request.content_length
        percent = None if not whole else min(100, 100 * self.bytes // whole)
        counts = course.report.as_json()["conversations"]
        await self._send({"progress": {"percent": percent, "bytes": self.bytes, "conversations": counts}})

    async def end(self, report: dict[str, Any]) -> web.StreamResponse:
        """The response that ends with the report."""
        if not self.is_wanted:
            return respond(orjson.dumps(report))
        return await self._end({"report": report})

    async def fail(self, error: errors.ChatError) -> web.StreamResponse:
        """The response that ends with an error. Raises it where no response has begun."""
        if self._response is None:
            raise error
        return await self._end({"error": error.body})

    async def _end(self, line: dict[str, Any]) -> web.StreamResponse:
        response = await self._send(line)
        await response.write_eof()
        return response

    async def _send(self, line: dict[str, Any]) -> web.StreamResponse:
        if self._response is None:
            self._response = web.StreamResponse(headers={"Content-Type": LINES, "X-Accel-Buffering": "no"})
            await self._response.prepare(self._request)
        await self._response.write(orjson.dumps(line) + b"\n")
        return self._response


async def run(request: web.Request) -> web.StreamResponse:
    """Import the file that a request brings.

    Raises ImportTooLarge, ImportUnreadable, ImportInterrupted, RequestTimeout, UnknownUser.
    """
    settings = request.app[SETTINGS]
    if (request.content_length or 0) > settings.import_max_bytes:
        raise errors.ImportTooLarge
    days = settings.retention_days
    course = Import(
        request[PRINCIPAL].user_id,
        most_bytes=settings.import_max_bytes,
        most_conversations=settings.max_conversations_per_user,
        kept_from=datetime.now(UTC) - timedelta(days=days) if days else None,
        keeps_favourites=settings.retention_favourites == "keep",
    )
    progress = _Progress(request)
    began = time.monotonic()
    try:
        try:
            async for piece in _pieces(request):
                progress.bytes += len(piece)
                if progress.bytes > settings.import_max_bytes:
                    raise _told(errors.ImportTooLarge(), course)
                await _store(request, course, course.feed(piece), progress)
            await _store(request, course, course.finish(), progress)
        except UnreadableError as error:
            if not course.report.has_found:
                raise errors.ImportUnreadable(f"{error} {errors.ImportUnreadable.sentence}") from error
            course.stop(error)
    except errors.ChatError as error:
        added = course.report.added
        log.warning("import_failed", error=error.code, conversations=added, size_bytes=progress.bytes)
        return await progress.fail(error)
    if not course.report.has_found:
        return await progress.fail(errors.ImportUnreadable())
    log.info(
        "import_finished",
        source=course.report.source,
        conversations=course.report.added,
        size_bytes=progress.bytes,
        duration_ms=round((time.monotonic() - began) * 1000),
    )
    return await progress.end(course.report.as_json())


async def _pieces(request: web.Request) -> AsyncIterator[bytes]:
    """The file's bytes, as they come: the body, or the first file of a form. Raises RequestTimeout."""
    patience = request.app[SETTINGS].request_timeout
    part: BodyPartReader | None = None
    try:
        if request.content_type == "multipart/form-data":
            form = await request.multipart()
            while part is None:
                async with asyncio.timeout(patience):
                    each = await form.next()
                if each is None:
                    return
                part = each if isinstance(each, BodyPartReader) and each.filename is not None else None
        while True:
            async with asyncio.timeout(patience):
                piece = await (request.content.readany() if part is None else part.read_chunk(PIECE_BYTES))
            if not piece:
                return
            yield bytes(piece)
    except TimeoutError:
        raise errors.RequestTimeout from None
    except (ValueError, AssertionError, web.RequestPayloadError):
        raise UnreadableError("The request's body isn't what its headers say.") from None


async def _store(
    request: web.Request, course: Import, found: Iterator[Prepared], progress: _Progress
) -> None:
    """Store what a piece of the file has completed.

    Raises UnreadableError, ImportInterrupted, UnknownUser.
    """
    # In a thread: a large conversation takes its time.
    while (prepared := await asyncio.to_thread(next, found, None)) is not None:
        if request.app[GENERATIONS].draining:
            raise errors.ImportInterrupted(errors.Draining.sentence, course.report.added)
        try:
            outcome, messages = await _add(request, prepared)
        except errors.DatabaseUnavailable as error:
            raise errors.ImportInterrupted(str(error.detail), course.report.added) from error
        course.stored(prepared, outcome, messages)
        await progress.tell(course)
    await progress.tell(course)


async def _add(request: web.Request, prepared: Prepared) -> tuple[str, int]:
    database = request.app[DATABASE]
    try:
        row = await database.row("imports.add", **prepared.parameters)
        if row is not None and row["outcome"] == "taken":
            row = await database.row("imports.add", **prepared.parameters)
    except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
        log.warning("conversation_not_imported", reason=type(error).__name__)
        return "refused", 0
    assert row is not None  # noqa: S101 - it is one row, whatever the outcome
    return row["outcome"], row["messages"]


def _told(error: errors.ChatError, course: Import) -> errors.ChatError:
    """An error that says how much was imported before."""
    if course.report.added:
        number = course.report.added
        stored = "1 conversation of it is" if number == 1 else f"{number} conversations of it are"
        error.detail = f"{error.detail} So far, {stored} imported."
    return error
