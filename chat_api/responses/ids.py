"""OpenAI's ids, made of the service's own and read back: nothing is stored for them."""

from __future__ import annotations

import re
from uuid import UUID

from chat_api import errors

_RESPONSE = re.compile("resp_([0-9a-f]{32})([0-9a-f]{32})", re.ASCII)
_CONVERSATION = re.compile("conv_([0-9a-f]{32})", re.ASCII)
# A message of the service's makes several items: thinking, text, calls (with their places), a call's result.
_ITEM = re.compile("(?:msg|rs|fco|fc)_([0-9a-f]{32})(?:_[0-9]{1,3})?", re.ASCII)


def response_id(conversation_id: UUID, generation_id: UUID) -> str:
    """A generation as a response: with its conversation, by which it is looked up."""
    return f"resp_{conversation_id.hex}{generation_id.hex}"


def conversation_id(of: UUID) -> str:
    """A conversation's id for programs."""
    return f"conv_{of.hex}"


def read_response(text: str) -> tuple[UUID, UUID]:
    """The conversation and the generation. Raises ResponseNotFound."""
    found = _RESPONSE.fullmatch(text)
    if found is None:
        raise errors.ResponseNotFound
    return UUID(found[1]), UUID(found[2])


def read_conversation(text: str) -> UUID:
    """The conversation. Raises ConversationNotFound."""
    found = _CONVERSATION.fullmatch(text)
    if found is None:
        raise errors.ConversationNotFound
    return UUID(found[1])


def read_item(text: str) -> UUID:
    """The message of an item. Raises MessageNotFound."""
    found = _ITEM.fullmatch(text)
    if found is None:
        raise errors.MessageNotFound
    return UUID(found[1])
