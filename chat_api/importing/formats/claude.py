"""Claude's conversations.json: a list of messages, of which newer exports say what each comes after."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from chat_api.importing.conversation import EMPTY, FILES, NOBODY, TOOLS, Conversation, Message, Node
from chat_api.importing.limits import MOST_MODEL
from chat_api.importing.values import (
    date_of,
    dict_of,
    fenced,
    joined,
    key_of,
    list_of,
    short,
    stand_in,
    text_of,
    title_of,
)

SOURCE = "claude"
_ROLES = {"human": "user", "user": "user", "assistant": "assistant"}


def is_one(item: dict[str, Any]) -> bool:
    """Whether this is a conversation of Claude's."""
    return isinstance(item.get("chat_messages"), list)


def convert(item: dict[str, Any], now: datetime) -> Conversation:
    """The conversation."""
    notes: Counter[str] = Counter()
    messages = [dict_of(each) for each in item["chat_messages"]]
    is_tree = any(key_of(each.get("parent_message_uuid")) for each in messages)
    model = short(item.get("model"), MOST_MODEL)
    found = Conversation(SOURCE, key_of(item.get("uuid")) or "", "", [], notes=notes)
    first, before = "", None
    for number, given in enumerate(messages):
        key = key_of(given.get("uuid")) or f"#{number}"
        parent = key_of(given.get("parent_message_uuid")) if is_tree else before
        before = key
        message = _message(given, model, notes, now)
        if message is not None and message.role == "user":
            first = first or message.text
        found.nodes.append(Node(key, parent, message))
    found.current = key_of(item.get("current_leaf_message_uuid"))
    found.title = title_of(item.get("name"), first)
    found.created_at = date_of(item.get("created_at"), now)
    found.updated_at = date_of(item.get("updated_at"), now)
    found.is_favorited = item.get("is_starred") is True
    return found


def _message(given: dict[str, Any], model: str | None, notes: Counter[str], now: datetime) -> Message | None:
    role = _ROLES.get(str(given.get("sender")))
    if role is None:
        notes[NOBODY] += 1
        return None
    texts, thoughts = _content(list_of(given.get("content")), notes)
    if not texts and isinstance(given.get("text"), str):
        texts = [given["text"]]
    texts += _files(given, notes)
    text, reasoning = text_of(joined(texts), notes), text_of(joined(thoughts), notes)
    if not text and not reasoning:
        notes[EMPTY] += 1
        return None
    is_answer = role == "assistant"
    return Message(
        "assistant" if is_answer else "user",
        text,
        reasoning or None,
        model if is_answer else None,
        date_of(given.get("created_at"), now),
        "stop" if is_answer else None,
    )


def _content(parts: list[Any], notes: Counter[str]) -> tuple[list[str], list[str]]:
    """The texts, and what was thought."""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in map(dict_of, parts):
        match part.get("type"):
            case "text":
                texts.append(str(part.get("text") or ""))
            case "thinking":
                thoughts.append(str(part.get("thinking") or ""))
            case "tool_use" if isinstance(dict_of(part.get("input")).get("content"), str):
                texts.append(_artifact(part["input"]))
            case "tool_use" | "tool_result":
                notes[TOOLS] += 1
            case "image" | "document" as kind:
                notes[FILES] += 1
                texts.append(stand_in("picture" if kind == "image" else "file"))
    return [each for each in texts if each.strip()], thoughts


def _artifact(made: dict[str, Any]) -> str:
    """A document that Claude wrote beside its answer."""
    language = made.get("language")
    block = fenced(made["content"], language if isinstance(language, str) and language.isalnum() else "")
    return joined([short(made.get("title"), 200) or "", block])


def _files(given: dict[str, Any], notes: Counter[str]) -> list[str]:
    """What was attached: its text where Claude kept that, else its name."""
    texts = []
    for file in map(dict_of, list_of(given.get("attachments"))):
        content = file.get("extracted_content")
        name = stand_in("file", file.get("file_name"))
        if isinstance(content, str) and content.strip():
            texts.append(f"{name}\n{fenced(content)}")
        else:
            notes[FILES] += 1
            texts.append(name)
    for file in map(dict_of, [*list_of(given.get("files")), *list_of(given.get("files_v2"))]):
        notes[FILES] += 1
        named = stand_in("picture" if file.get("file_kind") == "image" else "file", file.get("file_name"))
        if named not in texts:
            texts.append(named)
    return texts
