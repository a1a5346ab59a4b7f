"""From a request to its answer: stored, and with what the model is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from chat_api import events
from chat_api.bodies import AnswerRequest
from chat_api.generation import asking, history, prompt
from chat_api.generation.answer import Answer
from chat_api.generation.readers import Reading
from chat_api.generation.results import Results
from chat_api.generation.said import Words
from chat_api.generation.succession import Stop, succeed
from chat_api.settings.models import DEFAULT, Chosen

if TYPE_CHECKING:
    import asyncpg

    from chat_api.generation.endings import Endings
    from chat_api.generation.limits import SendLimits
    from chat_api.inference import Room
    from chat_api.inference.servers import ModelServers
    from chat_api.observe.metrics import Metrics
    from chat_api.postgres.database import Database
    from chat_api.relay import Relay
    from chat_api.settings import Settings


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks what, and where.

    `address`: the limit subject beside the user, if any. `queued_id`: a message that has waited for its turn.
    `is_admin`: whether the user may use every model.
    """

    user_id: UUID
    conversation_id: UUID
    asked: AnswerRequest
    idempotency_key: str | None = None
    address: str | None = None
    queued_id: UUID | None = None
    is_admin: bool = False


class Begun(NamedTuple):
    """An answer that is to run, its first reader, and whether the conversation has no other question."""

    answer: Answer
    reading: Reading
    is_first: bool


class Beginnings:
    """Begins answers; `stop` stops a generation of a conversation: of this user, in this conversation."""

    def __init__(
        self,
        *,
        settings: Settings,
        worker_id: UUID,
        database: Database,
        inference: ModelServers,
        relay: Relay,
        limits: SendLimits,
        metrics: Metrics,
        endings: Endings,
        stop: Callable[[UUID, UUID, UUID], Awaitable[Stop]],
    ) -> None:
        self._settings = settings
        self._worker_id = worker_id
        self._database = database
        self._inference = inference
        self._relay = relay
        self._limits = limits
        self._metrics = metrics
        self._endings = endings
        self._stop = stop
        self._in: Counter[UUID] = Counter()  # requests under way in each conversation

    def is_under_way(self, conversation_id: UUID) -> bool:
        """Whether a request in this conversation is about to begin its answer, or takes another's place."""
        return conversation_id in self._in

    async def begin(self, request: Request) -> Begun | Reading | None:
        """Store what is asked. Returns its answer, or a reader of the one that the same key or results began.

        None: the message has to wait for its turn, or, with `queued_id`, it waits no more, or still has to.
        Raises what `succession.succeed` raises.
        """
        conversation_id = request.conversation_id
        results = Results(request.asked)
        self._in[conversation_id] += 1
        try:
            row = await self._stored(request, results)
        finally:
            self._in[conversation_id] -= 1
            if not self._in[conversation_id]:
                del self._in[conversation_id]
        if row["outcome"] == "no_model":
            prompt.refuse_model(self._inference.catalogue, row["model_tag"], is_admin=request.is_admin)
        self._relay.watch.know(conversation_id, row["version"])
        self._relay.watch.changed(conversation_id, row["new_version"])
        if row["outcome"] in ("running", "waiting", "dequeued"):
            return None
        if row["outcome"] == "existed":
            log = await self._relay.find_log(row["generation_id"], conversation_id)
            return Reading(log, user_message_id=row["user_message_id"])
        return self._begun(request, results, row)

    async def _stored(self, request: Request, results: Results) -> asyncpg.Record:
        asked, settings = request.asked, self._settings
        await self._relay.lease_held()
        wanted = asking.parameters(asked, settings.max_title_characters)
        await self._inference.prepare()
        parameters = {
            "conversation_id": request.conversation_id,
            "user_id": request.user_id,
            **wanted,
            "results": results.given,
            "queued_id": request.queued_id,
            "idempotency_key": request.idempotency_key,
            "worker_id": self._worker_id,
            "max_messages": settings.max_conversation_history,
            "max_characters": self._room(None, asked, wanted["options"]).characters,
            "models": prompt.usable(self._inference.catalogue, asked, is_admin=request.is_admin),
            "with_reasoning": self._inference.catalogue.with_thinking_back,
            "prices": self._inference.catalogue.prices,
            "max_tokens": settings.default_max_tokens,
            "instruction_bytes": prompt.instruction_bytes(self._inference.catalogue, settings),
            **self._limits.parameters(request.user_id, request.address),
        }
        when_running = asked.when_running or settings.when_running
        if request.queued_id is not None:
            parameters["limits"] = None  # counted when it came
            when_running = "queue"
        return await succeed(
            self._database,
            self._relay,
            parameters,
            when_running,
            lambda running: self._stop(request.user_id, request.conversation_id, running),
        )

    def _begun(self, request: Request, results: Results, row: asyncpg.Record) -> Begun:
        generation_id, question_id = row["generation_id"], row["user_message_id"]
        chosen = self._inference.catalogue.choose(row["model_tag"] or DEFAULT)
        sent = history.read(
            row["history"],
            row["left_out"],
            self._room(chosen, request.asked, row["options"]),
            self._settings.max_conversation_history,
            results.in_order(row["result_ids"]),
            with_reasoning=chosen.model.thinking.send_back is not None,
        )
        log = self._relay.open_log(generation_id, request.conversation_id)
        log.append(events.start(generation_id, request.conversation_id, question_id, sent.counts))
        begun = None if row["begun"] is None else Words.begun(row["begun"])
        answer = Answer(
            log=log,
            question=results.question(row, sent.question, request.idempotency_key),
            prompt=prompt.build(sent, chosen, request.asked, self._settings, row["options"], begun),
            endings=self._endings,
            inference=self._inference,
            metrics=self._metrics,
            settings=self._settings,
            begun=begun,
        )
        return Begun(answer, Reading(log, user_message_id=question_id), sent.has_one_question)

    def _room(self, chosen: Chosen | None, asked: AnswerRequest, options: str | None) -> Room:
        """The room for a conversation with this model; None: with any, so that it is the most."""
        max_tokens = prompt.limits(asked, self._settings, options).max_tokens
        models = self._inference.catalogue.models.values() if chosen is None else [chosen.model]
        taken = min(prompt.longest_instructions(model, self._settings) for model in models)
        tag = None if chosen is None else chosen.tag
        return self._inference.room(tag, max_tokens, taken + len(options or ""))
