"""What is stored in the end, compared with what was asked and seen."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg

from tests.chaos.neighbours import answer
from tests.chaos.readers import Client, Transcript, beyond
from tests.chaos.stack import Absence, Stack

SECONDS = 120
MESSAGES = """
select id, role, content, finish_reason
from messages
where conversation_id = $1
order by position
"""


@dataclass
class Comparison:
    """Compares, and counts: `wrong` what must not be, `seen` what may."""

    connection: asyncpg.Connection
    absences: list[Absence]
    wrong: Counter[str]
    seen: Counter[str]
    stories: list[str] = field(default_factory=list)

    async def conversation(self, client: Client) -> None:
        """Compare a client's conversation, and what the service shows of it."""
        rows = await self.connection.fetch(MESSAGES, UUID(client.conversation.rpartition("/")[2]))
        shown = await client.insist("GET", client.conversation)
        if shown["generation"] is not None:
            self.wrong["generations still running"] += 1
        ids = [str(row["id"]) for row in rows]
        page = [message["id"] for message in shown["messages"]]
        questions = [row["content"] for row in rows if row["role"] == "user"]
        asked = [each.question for each in client.transcripts]
        if page != ids[len(ids) - len(page) :] or questions != [each for each in asked if each in questions]:
            self.wrong["messages out of order"] += 1
        self.wrong["messages that nobody sent"] += len(set(questions) - set(asked))
        self.wrong["duplicated messages"] += len(questions) - len(set(questions))
        places = {row["content"]: place for place, row in enumerate(rows) if row["role"] == "user"}
        answers = {str(row["id"]): place for place, row in enumerate(rows) if row["role"] == "assistant"}
        for transcript in client.transcripts:
            if transcript.question not in places:
                self.wrong["lost messages"] += transcript.last_id is not None
            elif transcript.done is not None:
                place = answers.pop(transcript.done["message_id"], None)
                if place is not None and place != places[transcript.question] + 1:
                    self.wrong["messages out of order"] += 1
                before = self.wrong.total()
                self.answer(transcript, None if place is None else rows[place])
                if self.wrong.total() > before:
                    self.stories.append(story(transcript, None if place is None else rows[place]))
            else:
                self.stories.append(story(transcript, None))
        self.wrong["stored answers other than seen"] += len(answers)

    def answer(self, transcript: Transcript, row: asyncpg.Record | None) -> None:
        """Compare what a reader saw, and was told by resets, with what is stored."""
        assert transcript.done is not None
        content = "" if row is None else row["content"]
        expected = "".join(answer(transcript.question))
        away = [
            each for each in self.absences if each.begin <= transcript.ended and transcript.began <= each.end
        ]
        was_interrupted = transcript.done["finish_reason"] == "interrupted"
        self.wrong["tokens seen and neither stored nor reset"] += beyond(transcript.text, content)
        if lost := beyond(transcript.longest, content):
            if any(each.is_death for each in away):
                self.seen["tokens lost with killed workers"] += lost
                self.seen["most of one answer"] = max(lost, self.seen["most of one answer"])
            else:
                self.wrong["tokens lost though no worker was killed"] += lost
        if was_interrupted and transcript.longest and not away:
            self.wrong["answers interrupted though no worker was away"] += 1
        if row is None and transcript.done["message_id"] is not None:
            self.wrong["done without a stored answer"] += 1
        elif not expected.startswith(content):
            self.wrong["stored answers that nobody gave"] += 1
        elif (row and row["finish_reason"]) == "stop" and content != expected:
            self.wrong["stored answers cut short"] += 1
        elif content != transcript.text:
            # Its worker, which had been taken for dead, has brought in the rest since.
            if was_interrupted and away and content.startswith(transcript.text):
                self.seen["interrupted, and brought in later"] += 1
            else:
                self.wrong["stored answers other than seen"] += 1


def story(transcript: Transcript, row: asyncpg.Record | None) -> str:
    """What happened to an answer, in one line."""
    kept = "nothing" if row is None else f"{len(row['content'].split())} tokens ({row['finish_reason']})"
    shown = f"shown {len(transcript.text.split())} tokens, once {len(transcript.longest.split())}"
    return f"{'; '.join(transcript.story)}; {shown}; stored: {kept}"


async def verify(stack: Stack, clients: list[Client], wrong: Counter[str], seen: Counter[str]) -> list[str]:
    """Compare every conversation, and return the stories of answers with which something is wrong."""
    connection = await stack.servers.connect()
    comparison = Comparison(connection, stack.absences, wrong, seen)
    async with asyncio.timeout(SECONDS):
        for client in clients:
            if client.conversation:
                await comparison.conversation(client)
    await connection.close()
    return comparison.stories
