"""Tool calls, which come in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import orjson

from chat_api import errors
from chat_api.inference.base import CallPiece
from chat_api.inference.halves import Halves, mend

MAX_CALLS = 128  # of one answer


@dataclass(slots=True)
class _Call:
    number: int
    given_id: str  # as the server gave it; may be empty, or the same for all
    name: str = ""
    halves: Halves = field(default_factory=Halves)


class Calls:
    """Tells which call a piece belongs to, and numbers the calls in the order in which they come.

    OpenAI's pieces have an index, and the first of each has an id and a name. Other servers leave the index
    out, use 0 for all, or repeat id and name. A call without an id gets one, since its result needs it.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._ids: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._calls)

    def read(self, pieces: object) -> Iterator[CallPiece]:
        """The pieces of `delta.tool_calls`. Those that add nothing are left out. Raises InferenceBroken."""
        for piece in pieces if isinstance(pieces, list) else (pieces,):
            if not isinstance(piece, dict):
                continue
            # Without one, name and arguments may stand beside the id, as in the Responses API.
            function = piece.get("function") or ("name" in piece and piece)
            if isinstance(function, dict):
                yield from self._read(_text(piece.get("id")), piece.get("index"), function)

    def read_function(self, function: object) -> Iterator[CallPiece]:
        """The piece of `delta.function_call`, the form before `tool_calls`; there is one call at most."""
        if isinstance(function, dict):
            yield from self._read("", 0, function)

    def rest(self) -> Iterator[CallPiece]:
        """What stands for characters that were never completed."""
        for call in self._calls:
            if rest := call.halves.rest():
                yield CallPiece(call.number, None, None, rest)

    def _read(self, given_id: str, index: object, function: dict[str, Any]) -> Iterator[CallPiece]:
        name = _text(function.get("name"))
        call = self._find(given_id, index, name)
        call_id = None
        if call is None:
            call, call_id = self._open(given_id, index)
        arguments = call.halves.join(_arguments(function.get("arguments")))
        new_name = name if name and not call.name else None
        call.name = call.name or name
        if call_id is not None or new_name is not None or arguments:
            yield CallPiece(call.number, call_id, new_name, arguments)

    def _find(self, given_id: str, index: object, name: str) -> _Call | None:
        """The call that a piece goes on with; None if it begins one."""
        if type(index) is int:
            call = self._by_index.get(index)
            another = call is not None and given_id not in ("", call.given_id) and name != ""
            return None if another else call
        if given_id:
            return next((call for call in self._calls if call.given_id == given_id), None)
        return self._calls[-1] if self._calls and not name else None

    def _open(self, given_id: str, index: object) -> tuple[_Call, str]:
        if len(self._calls) == MAX_CALLS:
            raise errors.InferenceBroken("The model server sent too many tool calls.")
        call = _Call(len(self._calls), given_id)
        self._calls.append(call)
        if type(index) is int:
            self._by_index[index] = call
        call_id = given_id if given_id and given_id not in self._ids else f"call_{uuid4().hex}"
        self._ids.add(call_id)
        return call, call_id


def _text(value: object) -> str:
    return mend(value) if isinstance(value, str) else ""


def _arguments(value: object) -> str:
    """The arguments' JSON text. Some servers send the object itself, in one piece."""
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()
