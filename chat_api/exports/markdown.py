"""One conversation as Markdown, for people: what is shown of it, with the thinking folded."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import suppress
from typing import Any

import orjson

from chat_api.exports.lines import kind_of, parsed

_ROLES = {"user": "User", "assistant": "Assistant", "system": "System", "tool": "Tool result"}
_MARKS = re.compile(r"([\\`*_\[\]<>#|~&$])")
_TICKS = re.compile("`+")
# The beginning of a block of code, or its end; it may stand in a list or a quotation.
_FENCE = re.compile(r"(?:\s|[-*+>]\s|\d{1,9}[.)]\s)*(`{3,}(?=[^`]*$)|~{3,})(.*)")
# Not that of <https://…>. An element or a comment that isn't closed would swallow all that follows.
_TAG = re.compile(r"<(?![A-Za-z][A-Za-z0-9+.-]*:)(?=[A-Za-z/!?])")


async def as_markdown(lines: AsyncIterable[str]) -> AsyncGenerator[str, None]:
    """The conversation's title, then each message of the active path, piece by piece.

    `lines` are those of one conversation's export, itself first. Every message stands in a quotation of its
    own: what it opens and doesn't close, such as a block of code that was cut, ends with it.
    """
    async for line in lines:
        match kind_of(line):
            case "conversation":
                yield _head(parsed(line))
            case "message":
                message = parsed(line)
                # Also nothing is a piece: whoever sends them sees whether the reader is still there.
                yield _message(message) if message["is_active"] else ""
            case _:
                return


def _head(conversation: dict[str, Any]) -> str:
    parts = [
        f"# {_plain(conversation['title'])}\n\n",
        f"- Begun: {_time(conversation['created_at'])}\n",
        f"- Model: {_plain(conversation['model_tag'])}\n",
    ]
    if conversation["instructions"]:
        parts += ["\n**Instructions**\n\n", _quoted(conversation["instructions"])]
    return "".join(parts)


def _message(message: dict[str, Any]) -> str:
    role = _ROLES[message["role"]]
    said_by = f"{role} ({_plain(message['model_tag'])})" if message["model_tag"] else role
    end = message["finish_reason"]
    how = "" if end in (None, "stop", "tool_calls") else f", ended by: {_plain(end)}"
    parts = [f"\n## {said_by}\n\n*{_time(message['created_at'])}{how}*\n"]
    if message["reasoning"]:
        folded = _quoted(message["reasoning"])
        parts.append(f"\n<details>\n<summary>Thinking</summary>\n\n{folded}\n</details>\n")
    if message["role"] == "tool":
        call = _plain(str(message["tool_call_id"] or ""))
        parts.append(f"\nOf the call {call}:\n\n{_fenced(message['content'])}")
    elif message["content"]:
        parts.append(f"\n{_quoted(message['content'])}")
    parts += [f"\nTool call:\n\n{_fenced(_call(call), 'json')}" for call in message["tool_calls"] or ()]
    return "".join(parts)


def _time(text: str) -> str:
    return f"{text[:19].replace('T', ' ')} UTC"


def _plain(text: str) -> str:
    """A line in which nothing is Markdown."""
    return _MARKS.sub(r"\\\1", " ".join(text.split()))


def _quoted(text: str) -> str:
    """A text that is Markdown itself, as a quotation without HTML."""
    quoted, fence = [], ""
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        found = _FENCE.match(line)
        if found and not fence:
            fence = found[1]
        elif found and found[1].startswith(fence) and not found[2].strip():
            fence = ""
        shown = line if found or fence else _without_html(line)
        quoted.append(f"> {shown}\n" if shown else ">\n")
    return "".join(quoted)


def _without_html(line: str) -> str:
    """A line whose tags are text. What stands between two runs of as many backticks is text already.

    In linear time, since a model or a user may have written any number of backticks.
    """
    if "<" not in line:
        return line
    runs = [run.span() for run in _TICKS.finditer(line)]
    ends: list[int | None] = []
    seen: dict[int, int] = {}
    for place, (begin, end) in reversed([*enumerate(runs)]):
        ends.append(seen.get(end - begin))
        seen[end - begin] = place
    made, at, place = [], 0, 0
    while place < len(runs):
        last = ends[-1 - place]
        if last is not None:
            begin, end = runs[place][0], runs[last][1]
            made += [_TAG.sub(r"\\<", line[at:begin]), line[begin:end]]
            at, place = end, last
        place += 1
    return "".join([*made, _TAG.sub(r"\\<", line[at:])])


def _fenced(text: str, language: str = "") -> str:
    """A block of code that nothing in the text ends: its fence is longer than any in there."""
    longest = max((len(run) for run in _TICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}\n"


def _call(call: Any) -> str:
    """A tool call as JSON. Arguments that are whole JSON are shown as such, and not as a text in it."""
    shown = call
    if isinstance(call, dict) and isinstance(call.get("arguments"), str):
        with suppress(orjson.JSONDecodeError):  # they may be cut off, or be anything
            orjson.loads(call["arguments"])
            shown = {**call, "arguments": orjson.Fragment(call["arguments"].strip())}
    try:
        return orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode()
    except TypeError:  # half a surrogate pair: see `parsed`
        return json.dumps(call, indent=2)
