"""One import: what is to be stored of a file, for one user, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import orjson

from chat_api.importing.conversation import Conversation, Placed
from chat_api.importing.cutting import Refused
from chat_api.importing.formats import own
from chat_api.importing.limits import LONG_TEXT, MOST_MESSAGES, MOST_NOTED_CHARACTERS, UnreadableError
from chat_api.importing.reading import Reader
from chat_api.importing.report import Report
from chat_api.importing.trees import arrange

_FULL = "There is no room for more conversations: delete some, and import the file again."
_TAKEN = "It is just being deleted. Import the file again in a minute."
REFUSED = "The database refused it."


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A conversation, and the parameters of imports.add for it."""

    conversation: Conversation
    parameters: dict[str, Any]


class Import:
    """Takes the pieces of a file, and gives what is to be stored; `stored` is told what became of each."""

    def __init__(
        self,
        user_id: UUID,
        *,
        most_bytes: int,
        most_conversations: int = 0,
        kept_from: datetime | None = None,
        keeps_favourites: bool = True,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        """`most_conversations`: that the user may have; 0: any number.

        `kept_from`: what has been idle since before then would be deleted at once, so it is left out.
        """
        self._user_id = user_id
        self._most_conversations = most_conversations
        self._kept_from = kept_from
        self._keeps_favourites = keeps_favourites
        self._clock = clock
        self._reader = Reader(most_bytes, clock)
        self.report = Report()

    def feed(self, data: bytes) -> Iterator[Prepared]:
        """What ends in the next piece of the file.

        Raises:
            UnreadableError: nothing more can be read.
        """
        yield from self._prepared(self._reader.feed(data))

    def finish(self) -> Iterator[Prepared]:
        """What is left when the file has ended.

        Raises:
            UnreadableError: it was cut, or is empty.
        """
        try:
            yield from self._prepared(self._reader.finish())
        finally:
            if self._reader.records:
                self.report.tell(
                    None,
                    f"{self._reader.records} records of answers and of what was used are the operator's to "
                    "bring back, and were left out.",
                )

    def stop(self, error: UnreadableError) -> None:
        """Note that the file couldn't be read to its end."""
        self.report.is_whole = False
        self.report.tell(None, str(error))

    def stored(self, prepared: Prepared, outcome: str, messages: int) -> None:
        """Note what imports.add said; `refused`: the database can't store it."""
        conversation = prepared.conversation
        match outcome:
            case "added":
                self.report.add(conversation, messages)
            case "there":
                self.report.there += 1
            case "full":
                self.report.leave_out(conversation.title, _FULL)
            case "taken":
                self.report.leave_out(conversation.title, _TAKEN)
            case _:
                self.report.leave_out(conversation.title, REFUSED)

    def _prepared(self, found: Iterator[Conversation | Refused]) -> Iterator[Prepared]:
        for each in found:
            if isinstance(each, Refused):
                self.report.leave_out(each.title, each.why)
                continue
            self.report.source = self.report.source or each.source
            placed = arrange(each.nodes, each.current)
            each.nodes = []
            why = self._why_not(each, placed)
            if why is not None:
                self.report.leave_out(each.title, why)
            else:
                yield Prepared(each, self._parameters(each, placed))

    def _why_not(self, conversation: Conversation, placed: list[Placed]) -> str | None:
        if not placed and conversation.source != own.SOURCE:
            return "It has no messages."
        if len(placed) > MOST_MESSAGES:
            return f"It has more than {MOST_MESSAGES:,} messages."
        texts = (len(each.message.text) for each in placed)
        if sum(length for length in texts if length <= LONG_TEXT) > MOST_NOTED_CHARACTERS:
            return f"It has more than {MOST_NOTED_CHARACTERS:,} characters."
        _date(conversation, placed, self._clock())
        if (
            self._kept_from is not None
            and conversation.updated_at is not None
            and conversation.updated_at < self._kept_from
            and not (conversation.is_favorited and self._keeps_favourites)
        ):
            return "It is older than what is kept here."
        return None

    def _parameters(self, conversation: Conversation, placed: list[Placed]) -> dict[str, Any]:
        key = f"{conversation.source}\n{conversation.external_id}"
        own_id = None
        if conversation.source == own.SOURCE:
            try:
                own_id = UUID(conversation.external_id)
            except ValueError:
                own_id = None
        return {
            # Of this user, product and id alone: it collides with nothing, and is the same each time.
            "id": uuid5(self._user_id, key),
            "user_id": self._user_id,
            "own_id": own_id,
            "conversation": orjson.dumps(
                {
                    name: getattr(conversation, name)
                    for name in (
                        "title",
                        "model_tag",
                        "is_favorited",
                        "created_at",
                        "updated_at",
                        "instructions",
                        "options",
                        "metadata",
                    )
                }
            ).decode(),
            "messages": orjson.dumps(
                [_row(number, each) for number, each in enumerate(placed, start=1)]
            ).decode(),
            "max_conversations": self._most_conversations,
        }


def _date(conversation: Conversation, placed: list[Placed], now: datetime) -> None:
    """Give the conversation and all its messages dates: what is missing is taken from what is nearest."""
    dates = [each.message.created_at for each in placed if each.message.created_at is not None]
    created = conversation.created_at or min(dates, default=conversation.updated_at or now)
    conversation.created_at = created
    conversation.updated_at = max(conversation.updated_at or max(dates, default=created), created)
    for each in placed:
        if each.message.created_at is None:
            above = placed[each.parent - 1].message.created_at if each.parent else None
            each.message.created_at = above or created


def _row(number: int, placed: Placed) -> dict[str, Any]:
    message = placed.message
    return {
        "place": number,
        "parent": placed.parent,
        "is_active": placed.is_active,
        "has_versions": placed.has_versions,
        "role": message.role,
        "content": message.text,
        "reasoning": message.reasoning,
        "model_tag": message.model,
        "created_at": message.created_at,
        "finish_reason": message.finish_reason,
        **message.more,
    }
