"""Open WebUI's exports: an array of chats, each with a tree of messages."""

from __future__ import annotations

import html
import re
from collections import Counter
from datetime import datetime
from typing import Any

from chat_api.importing.conversation import EMPTY, FILES, NOBODY, TOOLS, Conversation, Message, Node
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

SOURCE = "open_webui"
_ROLES = ("user", "assistant", "system")
# Open WebUI puts thinking and calls of tools into the text, as HTML for its own page.
_DETAILS = re.compile(r'<details type="(\w{1,40})"[^>]{0,100000}>(.*?)</details>', re.DOTALL)
_SUMMARY = re.compile(r"<summary>.*?</summary>", re.DOTALL)
_QUOTED = re.compile(r"^> ?", re.MULTILINE)


def is_one(item: dict[str, Any]) -> bool:
    """Whether this is a chat of Open WebUI's."""
    return isinstance(item.get("chat"), dict)


def convert(item: dict[str, Any], now: datetime) -> Conversation:
    """The conversation."""
    notes: Counter[str] = Counter()
    chat = item["chat"]
    history = dict_of(chat.get("history"))
    messages = [(key, dict_of(each)) for key, each in dict_of(history.get("messages")).items()]
    found = Conversation(SOURCE, key_of(item.get("id")) or "", "", [], notes=notes)
    if not messages:  # as the first releases had it
        listed = [dict_of(each) for each in list_of(chat.get("messages"))]
        keys = [key_of(each.get("id")) or f"#{number}" for number, each in enumerate(listed)]
        messages = [
            (key, {"parentId": before, **each})
            for key, before, each in zip(keys, [None, *keys], listed, strict=False)
        ]
    ranks = {
        child: rank
        for _, given in messages
        for rank, child in enumerate(list_of(given.get("childrenIds")))
        if isinstance(child, str)
    }
    first = ""
    for key, given in messages:
        message = _message(given, notes, now)
        if message is not None and message.role == "user":
            first = first or message.text
        parent = given.get("parentId")
        found.nodes.append(Node(key, parent if isinstance(parent, str) else None, message, ranks.get(key, 0)))
    current = history.get("currentId")
    found.current = current if isinstance(current, str) else None
    found.title = title_of(item.get("title") or chat.get("title"), first)
    found.created_at = date_of(item.get("created_at") or chat.get("timestamp"), now)
    found.updated_at = date_of(item.get("updated_at"), now)
    found.is_favorited = item.get("pinned") is True
    told = dict_of(chat.get("params")).get("system") or chat.get("system")
    found.instructions = text_of(told, notes)[:MOST_INSTRUCTIONS] or None
    return found


def _message(given: dict[str, Any], notes: Counter[str], now: datetime) -> Message | None:
    role = given.get("role")
    if role not in _ROLES:
        notes[NOBODY] += 1
        return None
    content = given.get("content")
    texts = [content] if isinstance(content, str) else []
    for part in map(dict_of, list_of(content)):
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            notes[FILES] += 1
            texts.append(stand_in("picture" if part.get("type") == "image_url" else "file"))
    thoughts: list[str] = []
    if role == "assistant":
        texts = [_without_details(each, thoughts, notes) for each in texts]
    for file in map(dict_of, list_of(given.get("files"))):
        notes[FILES] += 1
        texts.append(stand_in("picture" if file.get("type") == "image" else "file", file.get("name")))
    text, reasoning = text_of(joined(texts), notes), text_of(joined(thoughts), notes)
    if not text and not reasoning:
        notes[EMPTY] += 1
        return None
    is_answer = role == "assistant"
    return Message(
        role,
        text,
        reasoning or None,
        short(given.get("model"), MOST_MODEL) if is_answer else None,
        date_of(given.get("timestamp"), now),
        "stop" if is_answer else None,
    )


def _without_details(text: str, thoughts: list[str], notes: Counter[str]) -> str:
    """The text without what Open WebUI folds away; the thinking is added to `thoughts`."""
    if "</details>" not in text:
        return text

    def take(found: re.Match[str]) -> str:
        if found[1] == "reasoning":
            thoughts.append(_QUOTED.sub("", html.unescape(_SUMMARY.sub("", found[2]))).strip())
        else:
            notes[TOOLS] += 1
        return ""

    return _DETAILS.sub(take, text).strip()
