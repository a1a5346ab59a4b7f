"""Titles: after a conversation's first answer, a model is asked for one, if TITLE_MODEL names it."""

from __future__ import annotations

import asyncio
import math
import re
from dataclasses import asdict
from typing import TYPE_CHECKING
from uuid import UUID

import orjson
import structlog

from chat_api import errors
from chat_api.errors import describe
from chat_api.generation import prompt
from chat_api.inference import CallPiece, Options, Prompt, Turn, Usage
from chat_api.inference.openai.thinking import ThinkTags

if TYPE_CHECKING:
    import asyncpg

    from chat_api.inference import Try
    from chat_api.inference.servers import ModelServers
    from chat_api.observe.metrics import Metrics
    from chat_api.postgres.database import Database
    from chat_api.relay.watch import Watch
    from chat_api.settings import Settings

logger = structlog.get_logger(__name__)

INSTRUCTIONS = (
    "You give conversations their titles. Write a title of at most six words for the conversation below, in "
    "the language of its question. Reply with the title and nothing else, without quotation marks."
)
MAX_CHARACTERS = 2000  # of the question, and of the answer, that the model is shown
OPTIONS = Options(temperature=0.2, max_tokens=500, top_k=None)  # most of the tokens are for its thinking
MAX_SAID = 4000  # characters, with thinking that a server leaves in the text
SECONDS = 30.0  # for what the model says
AT_ONCE = 2  # titles that are being made: answers need the model server more
BYTES_A_TOKEN = 4  # as generations.start estimates a prompt
MOST = 100  # titles that are being made, or wait for that
MARKS = "*_` "  # Markdown's emphasis, at both ends
QUOTES = {
    '"': '"',
    "'": "'",
    "\u201c": "\u201d",
    "\u201d": "\u201d",
    "\u201e": "\u201c\u201d",
    "\u2018": "\u2019",
    "\u201a": "\u2018\u2019",
    "\u00ab": "\u00bb",
    "\u00bb": "\u00ab",
    "\u300c": "\u300d",
    "\u300e": "\u300f",
}
UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd]")  # the last one stands for what was no character


class Titles:
    """Makes this worker's titles, beside its answers, which never wait for one.

    A title is stored only in place of the one that was made from the first question: not over a user's own.
    Whatever fails is logged, and leaves the old one.
    """

    def __init__(
        self, database: Database, watch: Watch, inference: ModelServers, settings: Settings, metrics: Metrics
    ) -> None:
        self._database = database
        self._watch = watch
        self._inference = inference
        self._settings = settings
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._draining = False

    def ask(self, conversation_id: UUID) -> None:
        """Make a title for a conversation whose first question was just answered. Returns at once."""
        if not self._settings.title_model:
            return
        if len(self._tasks) >= MOST:
            self._count(conversation_id, "skipped", "too many at once")
            return
        task = asyncio.create_task(self._run(conversation_id), name=f"title-{conversation_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def drain(self) -> None:
        """Begin no more."""
        self._draining = True

    async def close(self) -> None:
        """Leave nothing behind."""
        self.drain()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, conversation_id: UUID) -> None:
        async with self._turns:
            if self._draining:
                return
            try:
                self._count(conversation_id, await self._make(conversation_id))
            except errors.ChatError as error:
                self._count(conversation_id, "failed", error.code)
            except TimeoutError:
                self._count(conversation_id, "failed", errors.InferenceTimeout.code)
            except Exception as error:
                logger.exception("title_failed", conversation_id=str(conversation_id))
                self._count(conversation_id, "failed", describe(error))

    async def _make(self, conversation_id: UUID) -> str:
        """What became of it."""
        row = await self._database.row(
            "conversations.untitled", id=conversation_id, max_characters=MAX_CHARACTERS
        )
        limit = self._settings.max_title_characters
        # Cut like the question, the title that was made of it is the same.
        if row is None or row["title"] != prompt.title(row["question"])[:limit]:
            return "kept"
        made = one_line(await self._said(conversation_id, row), limit)
        if not made:
            return "empty"
        stored = await self._database.row(
            "conversations.retitle", id=conversation_id, old_title=row["title"], title=made
        )
        if stored is not None:
            self._watch.changed(conversation_id, stored["new_version"])
        return "kept" if stored is None else "made"

    async def _said(self, conversation_id: UUID, row: asyncpg.Record) -> str:
        """What the model says; "" if it was cut, so that it is no title. What it used is noted in any case.

        Raises InferenceErrors, TimeoutError, DatabaseUnavailable.
        """
        shown = f"Question:\n{row['question']}\n\nAnswer:\n{row['answer']}\n\nThe title:"
        turns = [Turn("user", shown)]
        asked = Prompt(INSTRUCTIONS, turns, self._settings.title_model, OPTIONS, thinking_mode=False)
        said = _Said()
        began = asyncio.get_running_loop().time()
        status, error_code, usage = "interrupted", None, Usage()
        try:
            async with asyncio.timeout(SECONDS) as said.time:
                end = await self._inference.stream(asked, said)
            status, usage = "completed", end.usage
        except TimeoutError:
            if said.is_too_much:
                status = "stopped"
                return ""
            status, error_code = "failed", errors.InferenceTimeout.code
            raise
        except errors.ChatError as error:
            status, error_code = "failed", error.code
            raise
        finally:
            read = len((INSTRUCTIONS + shown).encode())
            await self._database.row(
                "usage.add_title",
                user_id=row["user_id"],
                conversation_id=conversation_id,
                server=said.server,
                status=status,
                error_code=error_code,
                milliseconds=round((asyncio.get_running_loop().time() - began) * 1000),
                usage=orjson.dumps(asdict(usage)).decode(),
                token_count=said.pieces,
                billed=orjson.dumps(
                    {
                        **self._inference.catalogue.billed(asked.model_tag),
                        "prompt_estimate": math.ceil(read / BYTES_A_TOKEN),
                    }
                ).decode(),
            )
        return said.words if end.reason == "stop" else ""

    def _count(self, conversation_id: UUID, outcome: str, reason: str | None = None) -> None:
        self._metrics.titles.labels(outcome).inc()
        if reason is not None:
            logger.warning("title_not_made", conversation_id=str(conversation_id), reason=reason)


class _Said:
    """A Listener that keeps the text, and ends the `time` for it when that is too much."""

    def __init__(self) -> None:
        self.words = ""
        self.pieces = 0
        self.server: str | None = None  # which was asked last
        self.time: asyncio.Timeout
        self.heard_at = 0.0

    @property
    def has_spoken(self) -> bool:
        return bool(self.words)

    def ask(self, server: str, model: str) -> None:
        self.server = server
        self.alive()

    def tried(self, done: Try) -> None:
        pass

    @property
    def is_too_much(self) -> bool:
        return len(self.words) > MAX_SAID

    def text(self, text: str, data: bytes) -> None:
        self.alive()
        self.pieces += 1
        if self.is_too_much:
            return
        self.words += text
        if len(self.words) > MAX_SAID:
            self.time.reschedule(asyncio.get_running_loop().time())

    def reasoning(self, text: str, data: bytes) -> None:
        self.alive()
        self.pieces += 1

    def tool_call(self, piece: CallPiece, data: bytes) -> None:
        self.alive()

    def other(self, data: bytes) -> None:
        self.alive()

    def alive(self) -> None:
        self.heard_at = asyncio.get_running_loop().time()


def one_line(text: str, max_characters: int) -> str:
    """The title in what a model said: its first line, without thinking, quotation marks and emphasis.

    "" if there is none.
    """
    tags = ThinkTags()  # they are still there if INFERENCE_THINK_TAGS is off, and where nobody looks for any
    said = (tags.feed(text)[1] + tags.rest()[1]).rpartition("</think>")[2]  # some come without the first tag
    return next((title for line in said.splitlines() if (title := _bare(line))), "")[:max_characters].rstrip()


def _bare(line: str) -> str:
    title = " ".join(UNSEEN.sub(" ", line).split()).lstrip("#").strip(MARKS)
    while len(title) > 1 and title[-1] in QUOTES.get(title[0], "") and title[0] not in title[1:-1]:
        title = title[1:-1].strip(MARKS)
    return title
