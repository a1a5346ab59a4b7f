"""Reading nanochat's events: tokens, events of the server's own, and the end."""

from __future__ import annotations

import re
from typing import Any

import orjson
import structlog

from chat_api import errors, events
from chat_api.errors import describe
from chat_api.inference.base import End, Listener, Unreadable, Usage, parse_object, read_count, told_to_speak
from chat_api.inference.event_parser import is_failing
from chat_api.inference.extras import AnswerExtras
from chat_api.inference.halves import Halves, parse_leniently
from chat_api.inference.refusal import broken

log = structlog.get_logger(__name__)

LF, CR, BACKSLASH, BRACE = b"\n\r\\}"
TOKEN = b'{"token":"'
TOO_LONG = End("length")
MAX_UNCHANGED_BYTES = 500  # orjson writes 254 levels of nesting, and each takes two bytes
FINISH_REASONS = ("stop", "length", "content_filter")
_ERROR = re.compile(rb'\s*\{\s*"error"\s*:')


class NanochatAnswer:
    """Reads the events of one answer; an EventReader.

    Once an event was understood, one that can't be is skipped: `report` says how many were. Before that,
    something else responds at the URL, and the answer fails.
    """

    def __init__(self, listener: Listener, extras: AnswerExtras, max_tokens: int) -> None:
        self._listener = listener
        self._take = listener.text
        self._extras = extras
        self._max_tokens = max_tokens
        self._halves = Halves()
        self._tokens = 0  # a server joins tokens that are a character only together, so this may be too low
        self._understood = False  # whether an event without text was
        self._skipped = 0
        self._reason = ""  # why the first was skipped

    def event(self, data: bytes) -> End | None:
        """Read `{"token":…}`, `{"done":true}` at the end, or an event of the server's own.

        Too much beside the text ends the answer too. Raises InferenceError and InferenceBroken.
        """
        try:
            try:
                event = parse_object(data)
            except Unreadable:
                return self._read(parse_leniently(data), data)
            # One that goes to the readers unchanged must begin with the token, written as this service writes
            # it, since events.kind tells events apart by their first bytes.
            text = event.get("token")
            if (
                data[:10] != TOKEN
                or not isinstance(text, str)
                or "done" in event
                or "error" in event
                or not _is_plain(data)
                or self._halves.first
            ):
                return self._read(event, data)
        except Unreadable as error:
            return self._skip(data, error)
        self._take(text, data)
        if text:
            self._tokens += 1
        else:
            self._understood = True
        return None if self._extras.fit(text, data) else TOO_LONG

    def named(self, name: bytes, data: bytes) -> End | None:
        """Read an event with a name. Unless that is an error's, what it means is said by its data."""
        if is_failing(name):
            raise errors.InferenceError
        return self.event(data)

    def whole(self, data: bytes) -> End:
        """Fail: the answer is a JSON document, and nanochat has no such answers."""
        raise broken("the answer is a JSON document, not an event stream", size_bytes=len(data))

    def end(self) -> End:
        """Fail: the stream ended before `{"done":true}`."""
        raise errors.InferenceInterrupted

    def report(self) -> None:
        """Log what was skipped. Call this at the end, whatever it is."""
        if self._skipped:
            log.warning("inference_event_skipped", reason=self._reason, events=self._skipped)

    @property
    def _begins(self) -> bool:
        """Whether nothing was understood yet."""
        return not (self._tokens or self._understood)

    def _read(self, event: dict[str, Any], data: bytes) -> End | None:
        """Read an event that readers don't get unchanged, an event without a token, or the last event."""
        if event.get("error"):
            raise errors.InferenceError
        done = event.get("done") is True
        if "token" not in event:
            return self._end(event) if done else self._other(event, data)
        event.pop("done", None)
        text = event.pop("token")
        if not isinstance(text, str):
            raise Unreadable("the token is not text")
        text = self._halves.join(text)
        if done:
            text += self._halves.rest()
        written = _write({"token": text, **event})
        self._understood = True
        if self._halves.first and not (text or event):
            self._listener.alive()  # its other half comes next
            return None
        self._take(text, written)
        if text:
            self._tokens += 1
        if not self._extras.fit(text, written):
            return TOO_LONG
        return self._end(event) if done else None

    def _other(self, event: dict[str, Any], data: bytes) -> End | None:
        """Pass on an event of the server's own. One that readers would take for the service's is dropped."""
        if "error" in (event.get("object"), event.get("type"), event.get("status")):
            raise errors.InferenceError
        if self._begins and isinstance(event.get("choices"), list):
            raise Unreadable(f"these are events of OpenAI's protocol: {told_to_speak('openai')}")
        if not event or events.is_forged(event):
            self._listener.alive()
            self._understood = True
            return None if self._extras.fit("", data) else TOO_LONG
        written = data if data[:2] == b'{"' and _is_plain(data) else _write(event)
        self._understood = True
        self._listener.other(written)
        return None if self._extras.fit("", written) else TOO_LONG

    def _end(self, event: dict[str, Any]) -> End:
        """The end. A server that doesn't say why it ended was cut if it said as much as it was allowed to."""
        if rest := self._halves.rest():
            self._take(rest, events.token(rest, {}))
        usage = _usage(event)
        reason = event.get("finish_reason")
        if reason not in FINISH_REASONS:
            said = self._tokens if usage.completion_tokens is None else usage.completion_tokens
            reason = "length" if said >= self._max_tokens else "stop"
        return End(reason, usage)

    def _skip(self, data: bytes, error: Unreadable) -> End | None:
        if _ERROR.match(data):  # such as one that quotes half a surrogate pair
            raise errors.InferenceError from error
        if self._begins:
            raise broken(str(error), size_bytes=len(data)) from error
        if not self._skipped:
            self._reason = str(error)
        self._skipped += 1
        self._listener.alive()
        return None if self._extras.fit("", data) else TOO_LONG


def _is_plain(data: bytes) -> bool:
    """Whether an event, which is valid JSON, can go to the readers unchanged.

    It must begin with a name, as the caller checks, and end with the closing brace, since WebSocket frames
    insert fields before it.
    It must be ASCII, hence valid UTF-8, and on one line. It must have no escapes, since one of them is NUL,
    which PostgreSQL can't store. It must be too short to be nested deeper than orjson can write, since other
    workers write again what they read from the journal.
    """
    return (
        data[-1] == BRACE
        and len(data) <= MAX_UNCHANGED_BYTES
        and data.isascii()
        and BACKSLASH not in data
        and CR not in data
        and LF not in data
    )


def _write(event: dict[str, Any]) -> bytes:
    try:
        return events.dump(event)
    except orjson.JSONEncodeError as error:  # orjson reads deeper nesting than it writes
        raise Unreadable(describe(error)) from error


def _usage(event: dict[str, Any]) -> Usage:
    """What the last event says of tokens, in `usage` or beside `done`; `token_count` is the answer's."""
    given = event.get("usage")
    counts = given if isinstance(given, dict) else event

    completion = read_count(counts.get("completion_tokens"))
    return Usage(
        prompt_tokens=read_count(counts.get("prompt_tokens")),
        completion_tokens=read_count(counts.get("token_count")) if completion is None else completion,
        reasoning_tokens=read_count(counts.get("reasoning_tokens")),
        cached_tokens=read_count(counts.get("cached_tokens")),
    )
