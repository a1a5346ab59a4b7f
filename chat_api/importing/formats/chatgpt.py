"""ChatGPT's conversations.json: a tree of nodes, by OpenAI's "Export data".

A question's answer is a chain of nodes there: thinking, calls of tools, what these gave, text. It becomes one
message.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from typing import Any

from chat_api.importing.conversation import FILES, NOBODY, TOOLS, Conversation, Message, Node
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

SOURCE = "chatgpt"
_HIDDEN = ("user_editable_context", "model_editable_context")
_CITATION = re.compile("\ue200[^\ue201]{0,500}\ue201")  # marks that only ChatGPT's page can show
_POINTERS = {"image": "picture", "audio": "audio", "video": "video"}


def is_one(item: dict[str, Any]) -> bool:
    """Whether this is a conversation of ChatGPT's."""
    return isinstance(item.get("mapping"), dict)


def convert(item: dict[str, Any], now: datetime) -> Conversation:
    """The conversation."""
    notes: Counter[str] = Counter()
    found = Conversation(SOURCE, key_of(item.get("conversation_id")) or key_of(item.get("id")) or "", "", [])
    mapping = item["mapping"]
    ranks = {
        child: rank
        for node in mapping.values()
        for rank, child in enumerate(list_of(dict_of(node).get("children")))
        if isinstance(child, str)
    }
    first = ""
    model = short(item.get("default_model_slug"), MOST_MODEL)
    for key, given in mapping.items():
        node = dict_of(given)
        message = _message(dict_of(node.get("message")), notes, now)
        if message is not None:
            if message.role == "user":
                first = first or message.text
            elif message.model is None:
                message.model = model
        joins = message is not None and message.role == "assistant"
        parent = node.get("parent")
        found.nodes.append(
            Node(key, parent if isinstance(parent, str) else None, message, ranks.get(key, 0), joins)
        )
    current = item.get("current_node")
    found.current = current if isinstance(current, str) else None
    found.title = title_of(item.get("title"), first)
    found.created_at = date_of(item.get("create_time"), now)
    found.updated_at = date_of(item.get("update_time"), now)
    found.is_favorited = item.get("is_starred") is True
    found.notes = notes
    return found


def _message(given: dict[str, Any], notes: Counter[str], now: datetime) -> Message | None:
    """A node's message; None if it has none, or one that ChatGPT doesn't show."""
    author, content, metadata = (dict_of(given.get(name)) for name in ("author", "content", "metadata"))
    role, kind = author.get("role"), content.get("content_type")
    if not given or metadata.get("is_visually_hidden_from_conversation") is True or kind in _HIDDEN:
        return None
    if role == "system" and given.get("weight") == 0:
        return None
    reasoning = ""
    if role == "tool":
        text = _of_tool(content, notes)
    elif kind == "thoughts":
        text, reasoning = "", _thoughts(content)
    elif kind == "reasoning_recap":
        text, reasoning = "", str(content.get("content") or "")
    else:
        text = _text(content, metadata, notes)
        if role == "assistant" and given.get("recipient") not in (None, "all") and kind in ("text", "code"):
            text = fenced(text) if text and kind == "text" else text
    text = _CITATION.sub("", text)
    if not text.strip() and not reasoning.strip():
        return None
    if role == "tool":
        role = "assistant"
    if role not in ("user", "assistant", "system"):
        notes[NOBODY] += 1
        return None
    is_answer = role == "assistant"
    return Message(
        role,
        text_of(text, notes),
        text_of(reasoning, notes) or None,
        short(metadata.get("model_slug"), MOST_MODEL) if is_answer else None,
        date_of(given.get("create_time"), now),
        "stop" if is_answer else None,
    )


def _of_tool(content: dict[str, Any], notes: Counter[str]) -> str:
    """What a tool gave, as far as ChatGPT shows it: the output of code, and pictures."""
    if content.get("content_type") == "execution_output":
        text = content.get("text")
        return fenced(text) if isinstance(text, str) and text.strip() else ""
    pictures = [_part(part, {}, notes) for part in list_of(content.get("parts")) if isinstance(part, dict)]
    if not pictures:
        notes[TOOLS] += 1
    return joined(pictures)


def _thoughts(content: dict[str, Any]) -> str:
    thoughts = [dict_of(each) for each in list_of(content.get("thoughts"))]
    return joined([str(each.get(name) or "") for each in thoughts for name in ("summary", "content")])


def _text(content: dict[str, Any], metadata: dict[str, Any], notes: Counter[str]) -> str:
    files = [dict_of(each) for each in list_of(metadata.get("attachments"))]
    names = {each["id"]: each.get("name") for each in files if isinstance(each.get("id"), str)}
    text = content.get("text")
    if content.get("content_type") == "code" and isinstance(text, str) and text.strip():
        language = content.get("language")
        return fenced(
            text,
            language if isinstance(language, str) and language.isalnum() and language != "unknown" else "",
        )
    parts = [_part(part, names, notes) for part in list_of(content.get("parts"))]
    if not parts and isinstance(text, str):
        parts = [text]
    for name in names.values():  # those that no part stood for
        notes[FILES] += 1
        parts.append(stand_in("file", name))
    return joined(parts)


def _part(part: Any, names: dict[str, Any], notes: Counter[str]) -> str:
    """A part's text. A name that it stands for is taken out of `names`."""
    if isinstance(part, str):
        return part
    given = dict_of(part)
    if isinstance(given.get("text"), str):
        return str(given["text"])
    kind = str(given.get("content_type") or "")
    pointer = str(given.get("asset_pointer") or "").rpartition("/")[2]
    notes[FILES] += 1
    return stand_in(_POINTERS.get(kind.partition("_")[0], "file"), names.pop(pointer, None))
