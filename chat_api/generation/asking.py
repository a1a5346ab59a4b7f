"""What a request for an answer asks for, as `generations.start` takes it."""

from __future__ import annotations

from typing import Any

from chat_api.bodies import AnswerRequest, Continue, MessageCreate, Regenerate, ToolResults
from chat_api.generation import prompt
from chat_api.generation.endings import Kind


def kind_of(asked: AnswerRequest) -> Kind:
    """What a request asks for, as `generations.kind` has it."""
    if isinstance(asked, MessageCreate):
        return "send"
    if isinstance(asked, ToolResults):
        return "results"
    return "continue" if isinstance(asked, Continue) else "regenerate"


def parameters(asked: AnswerRequest, max_title_characters: int) -> dict[str, Any]:
    """The question with its title, its place in the conversation, and its options."""
    sent = asked if isinstance(asked, MessageCreate) else None
    return {
        "kind": kind_of(asked),
        "content": sent and sent.content,
        "title": prompt.title(sent.content)[:max_title_characters] if sent else "",
        "parent_id": sent and sent.parent_id,
        # Null is a place, before everything; nothing given is another one, after everything.
        "is_root": sent is not None and sent.parent_id is None and "parent_id" in sent.model_fields_set,
        "answer_id": asked.message_id if isinstance(asked, Regenerate | Continue) else None,
        "queued_id": None,
        "waits_its_turn": asked.when_running == "queue",
        "options": prompt.options_of(asked),
    }
