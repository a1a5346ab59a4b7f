"""The `input` of a response: OpenAI's items, as what was said before, and what is asked now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from chat_api import errors
from chat_api.bodies.fields import MAX_CONTENT_CHARACTERS
from chat_api.bodies.tools import MOST_BYTES

Message = dict[str, Any]
Path = tuple[str | int, ...]

ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
PARTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
MOST_CALLS = 128


@dataclass(slots=True)
class Turn:
    """What is asked now: a question, or results; `before` is what was said earlier, oldest first."""

    before: list[Message] = field(default_factory=list)
    question: str = ""
    results: list[Message] = field(default_factory=list)

    @property
    def instructions(self) -> list[str]:
        """The system messages of what was said before."""
        return [each["content"] for each in self.before if each["role"] == "system"]

    @property
    def has_history(self) -> bool:
        """Whether it brings anything else that was said before."""
        return any(each["role"] != "system" for each in self.before)


def read(given: str | Sequence[Any]) -> Turn:
    """An `input`. Raises Invalid, which names the item."""
    if isinstance(given, str):
        return Turn(question=_bounded(given, ("input",)))
    messages = messages_of(given, "input")
    turn = Turn()
    while messages and messages[-1]["role"] == "tool":
        turn.results.insert(0, messages.pop())
    if not turn.results:
        asked: list[str] = []
        while messages and messages[-1]["role"] == "user":
            asked.insert(0, messages.pop()["content"])
        turn.question = _bounded("\n\n".join(asked), ("input",))
        if not asked:
            refuse(("input",), "must end with a user's message or with function_call_output")
    turn.before = messages
    return turn


def messages_of(given: Sequence[Any], name: str) -> list[Message]:
    """Items as the service's messages: an answer's thinking, text and calls are one. Raises Invalid."""
    messages: list[Message] = []
    for place, item in enumerate(given):
        path: Path = (name, place)
        if not isinstance(item, dict):
            refuse(path, "must be an object")
        match item.get("type", "message"):
            case "message":
                message = _message(item, path)
                if message["role"] == "assistant":
                    _join(messages, message)
                else:
                    messages.append(message)
            case "reasoning":
                thought = _parts(item.get("summary") or item.get("content") or [], (*path, "summary"))
                _join(messages, _answer(reasoning=thought))
            case "function_call":
                call = {
                    "id": _text(item, "call_id", path, least=1),
                    "name": _text(item, "name", path, least=1),
                    "arguments": _text(item, "arguments", path),
                }
                _join(messages, _answer(calls=[call]))
            case "function_call_output":
                messages.append(_result(item, path))
            case _:
                refuse((*path, "type"), "must be message, function_call, function_call_output or reasoning")
    return [each for each in messages if each["content"] or each["tool_calls"] or each["role"] == "tool"]


def refuse(path: Path, message: str) -> NoReturn:
    """Raise Invalid, for a place in the body."""
    raise errors.Invalid([{"type": "value_error", "loc": ["body", *path], "msg": message}])


def _message(item: dict[str, Any], path: Path) -> Message:
    role = item.get("role")
    if not isinstance(role, str) or role not in ROLES:
        refuse((*path, "role"), f"must be one of {', '.join(ROLES)}")
    if "content" not in item:
        refuse((*path, "content"), "must be a text, or parts of text")
    content = _parts(item["content"], (*path, "content"))
    most = MOST_BYTES if role == "assistant" else MAX_CONTENT_CHARACTERS
    return {**_answer(_bounded(content, (*path, "content"), most)), "role": ROLES[role]}


def _result(item: dict[str, Any], path: Path) -> Message:
    said = _parts(item.get("output"), (*path, "output"))
    if len(said.encode()) > MOST_BYTES:
        refuse((*path, "output"), f"must be at most {MOST_BYTES} bytes of UTF-8")
    return {**_answer(said), "role": "tool", "tool_call_id": _text(item, "call_id", path, least=1)}


def _answer(
    content: str = "", reasoning: str | None = None, calls: list[dict[str, str]] | None = None
) -> Message:
    return {
        "role": "assistant",
        "content": content,
        "reasoning": reasoning,
        "tool_calls": calls,
        "tool_call_id": None,
    }


def _join(messages: list[Message], more: Message) -> None:
    """Add a part of an answer to the answer that it belongs to."""
    last = messages[-1] if messages else None
    if last is None or last["role"] != "assistant":
        messages.append(more)
        return
    for name in ("content", "reasoning"):
        last[name] = "\n\n".join(each for each in (last[name], more[name]) if each) or more[name]
    if more["tool_calls"]:
        last["tool_calls"] = [*(last["tool_calls"] or ()), *more["tool_calls"]]


def _parts(given: Any, path: Path) -> str:
    """A text, or the texts of parts."""
    if isinstance(given, str):
        return _storable(given, path)
    if not isinstance(given, list):
        refuse(path, "must be a text, or parts of text")
    said = []
    for place, part in enumerate(given):
        here = (*path, place)
        if not isinstance(part, dict):
            refuse(here, "must be an object")
        if part.get("type") == "refusal":
            said.append(_text(part, "refusal", here))
        elif part.get("type") in PARTS:
            said.append(_text(part, "text", here))
        else:
            refuse((*here, "type"), "must be text: images, files and sound aren't supported")
    return "\n".join(said)


def _text(item: dict[str, Any], name: str, path: Path, least: int = 0) -> str:
    given = item.get(name)
    if not isinstance(given, str) or len(given) < least:
        refuse((*path, name), "must be a text")
    if len(given) > MOST_BYTES:
        refuse((*path, name), f"must have at most {MOST_BYTES} characters")
    return _storable(given, (*path, name))


def _bounded(text: str, path: Path, most: int = MAX_CONTENT_CHARACTERS) -> str:
    if len(text) > most:
        refuse(path, f"must have at most {most} characters")
    if not text and path == ("input",):
        refuse(path, "must not be empty")
    return _storable(text, path)


def _storable(text: str, path: Path) -> str:
    if "\0" in text:
        refuse(path, "must not contain the NUL character (\\u0000)")
    return text
