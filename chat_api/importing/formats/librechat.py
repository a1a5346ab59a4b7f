"""LibreChat's exports: one conversation in a file, its messages in a list or one within the other."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from typing import Any

from chat_api.importing.conversation import EMPTY, FILES, TOOLS, Conversation, Message, Node
from chat_api.importing.limits import MOST_INSTRUCTIONS, MOST_MODEL
from chat_api.importing.values import (
    date_of,
    dict_of,
    joined,
    key_of,
    list_of,
    short,
    stand_in,
    text_of,
    title_of,
)

SOURCE = "librechat"
_THINKING = re.compile(r"^:::thinking\n(.*?)\n:::\s*", re.DOTALL)
_FAILED = "Messages that only tell of an error were left out"


def is_one(item: dict[str, Any]) -> bool:
    """Whether this is a conversation of LibreChat's."""
    return "conversationId" in item and any(
        isinstance(item.get(name), list) for name in ("messages", "messagesTree")
    )


def convert(item: dict[str, Any], now: datetime) -> Conversation:
    """The conversation."""
    notes: Counter[str] = Counter()
    options = dict_of(item.get("options"))
    found = Conversation(SOURCE, key_of(item.get("conversationId")) or "", "", [], notes=notes)
    model = short(options.get("model") or item.get("model"), MOST_MODEL)
    first = ""
    for number, (given, above) in enumerate(_flat(item.get("messagesTree") or item.get("messages"))):
        key = key_of(given.get("messageId")) or f"#{number}"
        message = _message(given, model, notes, now)
        if message is not None and message.role == "user":
            first = first or message.text
        found.nodes.append(Node(key, key_of(given.get("parentMessageId")) or above, message))
    found.title = title_of(item.get("title"), first)
    found.created_at, found.updated_at = (date_of(item.get(name), now) for name in ("createdAt", "updatedAt"))
    told = options.get("promptPrefix") or options.get("system")
    found.instructions = text_of(told, notes)[:MOST_INSTRUCTIONS] or None
    return found


def _flat(messages: Any) -> list[tuple[dict[str, Any], str | None]]:
    """All messages, each with the key of the one that it stands in."""
    flat: list[tuple[dict[str, Any], str | None]] = []
    waiting: list[tuple[dict[str, Any], str | None]] = [
        (dict_of(each), None) for each in reversed(list_of(messages))
    ]
    while waiting:
        given, above = waiting.pop()
        flat.append((given, above))
        key = key_of(given.get("messageId"))
        waiting += [(dict_of(each), key) for each in reversed(list_of(given.get("children")))]
    return flat


def _message(given: dict[str, Any], model: str | None, notes: Counter[str], now: datetime) -> Message | None:
    if given.get("error") is True:
        notes[_FAILED] += 1
        return None
    is_answer = not (given.get("isCreatedByUser") is True or given.get("sender") == "User")
    texts, thoughts = _content(list_of(given.get("content")), notes)
    if not texts and isinstance(given.get("text"), str):
        thought = _THINKING.match(given["text"])
        if thought is not None:
            thoughts.append(thought[1])
        texts = [given["text"][thought.end() if thought is not None else 0 :]]
    for file in map(dict_of, [*list_of(given.get("files")), *list_of(given.get("attachments"))]):
        notes[FILES] += 1
        is_picture = str(file.get("type")).startswith("image/")
        texts.append(stand_in("picture" if is_picture else "file", file.get("filename")))
    text, reasoning = text_of(joined(texts), notes), text_of(joined(thoughts), notes)
    if not text and not reasoning:
        notes[EMPTY] += 1
        return None
    return Message(
        "assistant" if is_answer else "user",
        text,
        reasoning or None,
        (short(given.get("model"), MOST_MODEL) or model) if is_answer else None,
        date_of(given.get("createdAt"), now),
        ("stopped" if given.get("unfinished") is True else "stop") if is_answer else None,
    )


def _content(parts: list[Any], notes: Counter[str]) -> tuple[list[str], list[str]]:
    """The texts, and what was thought."""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in map(dict_of, parts):
        kind = part.get("type")
        said = part.get(str(kind)) if isinstance(kind, str) else None
        value = dict_of(said).get("value", said)
        match kind:
            case "text":
                texts.append(str(value or ""))
            case "think":
                thoughts.append(str(value or ""))
            case "tool_call":
                notes[TOOLS] += 1
            case "image_file" | "image_url":
                notes[FILES] += 1
                texts.append(stand_in("picture", dict_of(said).get("filename")))
            case "error":
                notes[_FAILED] += 1
    return [each for each in texts if each.strip()], thoughts
