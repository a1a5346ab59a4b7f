"""Reading an answer, chunk by chunk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from chat_api import errors, events
from chat_api.events import dump
from chat_api.inference.base import CallPiece, End, Listener, Unreadable, Usage, parse_object, told_to_speak
from chat_api.inference.event_parser import is_done, is_failing
from chat_api.inference.halves import Halves, mend, parse_leniently
from chat_api.inference.openai.calls import Calls
from chat_api.inference.openai.deltas import (
    first_choice,
    message_of,
    only_text,
    pieces_of,
    reasoning_of,
    refusal_of,
)
from chat_api.inference.openai.failures import fail, is_error_text, raise_error_in, raise_error_of
from chat_api.inference.openai.finish import read_reason, read_usage
from chat_api.inference.openai.thinking import ThinkTags
from chat_api.inference.refusal import broken

# What servers send to keep the connection open, other than comments and empty events.
KEEP_ALIVE = re.compile(rb'[\s:"\[\]]*(null|false|0|ping|pong|heartbeat|keep.?alive)?[\s:"\[\]]*', re.I)


class Answer:
    """Reads the events of one answer; an EventReader.

    The answer ends with its finish reason, or with `[DONE]`. What follows changes nothing but the usage.
    `on_end` is called once, when the finish reason has come.
    """

    def __init__(
        self, listener: Listener, *, think_tags: bool = True, on_end: Callable[[], None] | None = None
    ) -> None:
        self._listener = listener
        self._take = listener.text
        self._on_end = on_end
        self._tags = ThinkTags() if think_tags else None
        self._plain = False  # whether text is told as it comes
        self._text, self._thinking, self._calls = Halves(), Halves(), Calls()
        self.has_spoken = False  # whether readers were told anything
        self._told = self._refused = self._understood = self._has_deltas = False
        self._reason: str | None = None
        self._usage = Usage()
        self._model: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the finish reason has come."""
        return self._reason is not None

    def event(self, data: bytes) -> End | None:
        """Read a chunk, or `[DONE]` at the end."""
        try:
            chunk = parse_object(data)
        except Unreadable:
            return self._odd(data)
        if self._plain and (text := only_text(chunk)) is not None:
            model = chunk.get("model")
            if type(model) is str:
                self._model = model or self._model
            self._take(text, dump({"token": text}))
            return None
        self._read(chunk)
        return None

    def named(self, name: bytes, data: bytes) -> End | None:
        """Read an event with a name: an error, or a chunk all the same; others are signs of life."""
        if is_failing(name):
            if not self.ended:
                raise_error_of(data)
        elif b'"choices"' in data or is_done(data):
            return self.event(data)
        elif not self.ended:
            with suppress(Unreadable):  # of no protocol known here
                raise_error_in(parse_leniently(data), named=True)
        self._listener.alive()
        return None

    def whole(self, data: bytes) -> End:
        """Read an answer that comes in one piece though a stream was asked for."""
        try:
            completion = parse_leniently(data)
        except Unreadable as error:
            raise broken(str(error), size_bytes=len(data)) from error
        raise_error_in(completion)
        choice = first_choice(completion)
        if choice is None or message_of(choice) is None:
            raise broken("the answer has no message")
        self._read(completion)
        self._end("stop")
        return self.end()

    def end(self) -> End:
        """The end, if the model gave a finish reason: some servers leave out `[DONE]`."""
        if self._reason is None:
            raise errors.InferenceInterrupted
        return End(self._reason, self._usage, self._model)

    def settle(self) -> None:
        """Tell what is held back, since no text follows it."""
        if self._tags is not None:
            thinking, text = self._tags.rest()
            self._tell_thinking(thinking)
            self._tell_text(text)
        self._tell_thinking(self._thinking.rest())
        self._tell_text(self._text.rest())
        self._tell_calls(self._calls.rest())

    def _odd(self, data: bytes) -> End | None:
        """Read an event that isn't a JSON object by every standard. Raises InferenceErrors."""
        if is_done(data):
            self._end("stop")
            return self.end()
        if KEEP_ALIVE.fullmatch(data):
            self._listener.alive()
            return None
        try:
            self._read(parse_leniently(data))
        except Unreadable as error:
            if is_error_text(data):
                fail(data.decode(errors="replace"))
            raise broken(str(error), size_bytes=len(data)) from error
        return None

    def _read(self, chunk: dict[str, Any]) -> None:
        """Read a chunk of any kind. Raises InferenceErrors."""
        self._told = False
        choice = first_choice(chunk)
        if not self.ended:
            raise_error_in(chunk)
            if choice is None and not self._understood and "token" in chunk:
                raise broken(f"these are events of nanochat's own server: {told_to_speak('chat_web')}")
        self._usage = read_usage(chunk, choice, self._usage)
        model = chunk.get("model")
        if type(model) is str and model:
            self._model = mend(model)
        if choice is not None and not self.ended:
            self._understood = True
            self._read_choice(choice)
        if not self._told:
            self._listener.alive()

    def _read_choice(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta")
        if delta:
            self._has_deltas = True
        elif not self._has_deltas:  # else the whole may come again at the end
            delta = message_of(choice)
        if isinstance(delta, dict):
            self._read_delta(delta)
        elif delta:
            raise broken("the delta is no object")
        if error := choice.get("error") or (delta and delta.get("error")):
            fail(error)
        if (reason := read_reason(choice.get("finish_reason"))) is not None:
            self._end(reason)

    def _read_delta(self, delta: dict[str, Any]) -> None:
        self._think(reasoning_of(delta))
        for is_thinking, text in pieces_of(delta.get("content")):
            if is_thinking:
                self._think(text)
            else:
                self._say(text)
        if refusal := refusal_of(delta):
            self._refused = True
            self._say(refusal)
        self._call(self._calls.read(delta.get("tool_calls")))
        self._call(self._calls.read_function(delta.get("function_call")))

    def _say(self, text: str) -> None:
        text = self._text.join(text)
        if self._tags is None:
            self._tell_text(text)
        elif text:
            thinking, text = self._tags.feed(text)
            self._tell_thinking(thinking)
            self._tell_text(text)
            if self._tags.over:
                self._tags = None
        self._plain = self._tags is None and not self._text.first

    def _think(self, text: str) -> None:
        if not text:
            return
        if self._tags is not None:
            self._tell_text(self._tags.skip())
        self._tell_thinking(self._thinking.join(text))

    def _call(self, pieces: Iterable[CallPiece]) -> None:
        for piece in pieces:
            if self._tags is not None:
                thinking, text = self._tags.rest()
                self._tell_thinking(thinking)
                self._tell_text(text)
            self._tell_calls([piece])

    def _end(self, reason: str) -> None:
        """Note the first finish reason that comes."""
        if self.ended:
            return
        self.settle()
        self._plain = False
        if reason in ("stop", "tool_calls"):
            reason = "tool_calls" if self._calls else "content_filter" if self._refused else "stop"
        self._reason = reason
        if self._on_end is not None:
            self._on_end()

    def _tell_text(self, text: str) -> None:
        if text:
            self._told = self.has_spoken = True
            self._take(text, events.token(text, {}))

    def _tell_thinking(self, text: str) -> None:
        if text:
            self._told = self.has_spoken = True
            self._listener.reasoning(text, events.reasoning(text, {}))

    def _tell_calls(self, pieces: Iterable[CallPiece]) -> None:
        for piece in pieces:
            self._told = self.has_spoken = True
            data = events.tool_call(piece.index, piece.call_id, piece.name, piece.arguments)
            self._listener.tool_call(piece, data)
