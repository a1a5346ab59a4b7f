"""All model servers behind one door: who is asked for an answer, and who instead if that fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from chat_api import errors
from chat_api.inference.base import End, Listener, Prompt, Room, Try
from chat_api.inference.servers import listing, tries
from chat_api.inference.servers.served import Client, Connect, Served, serve
from chat_api.inference.servers.silence import limited
from chat_api.settings import Settings, SettingsError
from chat_api.settings.models import DEFAULT, Catalogue, load_catalogue

if TYPE_CHECKING:
    from chat_api.observe.metrics import Metrics

ALL_TAKEN = "The model server has too much to do just now. Try again in a few seconds."

log = structlog.get_logger(__name__)


class ModelServers:
    """The models of a catalogue, and the servers that serve them.

    `connect` makes the client of an endpoint. Raises SettingsError if MODELS_FILE can't be used.
    """

    def __init__(self, settings: Settings, connect: Connect, metrics: Metrics) -> None:
        self._settings = settings
        self._connect = connect
        self._metrics = metrics
        self._take(load_catalogue(settings), {})
        metrics.servers.watch(self._states)

    def _take(self, catalogue: Catalogue, before: dict[str, Served]) -> None:
        self.catalogue = catalogue
        self._served = serve(catalogue, self._settings, self._connect, before)
        for tag, served in self._served.items():
            for client in served.clients:
                self._metrics.servers.expect(client.server.name, tag, tries.OUTCOMES)

    def reload(self) -> None:
        """Reread MODELS_FILE. A file that can't be used changes nothing, and is logged.

        Answers that are being written go on as they began.
        """
        try:
            catalogue = load_catalogue(self._settings)
        except SettingsError as error:
            log.error("models_refused", reason=str(error), do="correct the file; the models of before stay")
            return
        self._take(catalogue, self._served)
        log.info("models_read", models=list(catalogue.models), servers=list(catalogue.servers))

    async def stream(self, prompt: Prompt, listener: Listener) -> End:
        """Hand the answer of the first server that gives one to `listener`.

        Another server is asked only as long as nothing was said. Raises what the last one raised: an
        InferenceError, or ModelGone.
        """
        served = self._find(prompt.model_tag)
        prompt = replace(prompt, model_tag=self._meant(prompt.model_tag))
        remaining = served.in_order()
        while True:
            # Servers whose breaker is open come last.
            client = next((each for each in remaining if not each.server.breaker.is_open), remaining[0])
            remaining.remove(client)
            try:
                end = await self._ask(served.tag, client, prompt, listener)
            except errors.InferenceError as error:
                if listener.has_spoken or not remaining or not tries.may_help(error):
                    raise
                continue
            is_empty = end.reason == "stop" and not listener.has_spoken and not prompt.goes_on
            if not (is_empty and remaining):
                return end

    async def _ask(self, tag: str, client: Client, prompt: Prompt, listener: Listener) -> End:
        """Ask one server, and note what became of it."""
        server = client.server
        began = asyncio.get_running_loop().time()
        outcome = tries.STOPPED
        is_only_try = server.breaker.begin(listener)
        try:
            with structlog.contextvars.bound_contextvars(server=server.name):
                end = await _stream(tag, client, prompt, listener)
            if end is None:
                outcome = tries.BUSY
            else:
                outcome = tries.DONE if listener.has_spoken or end.reason != "stop" else tries.EMPTY
                server.breaker.succeeded()
        except errors.InferenceError as error:
            outcome = error.code
            if error.rest_seconds is not None:
                server.breaker.rest(error.rest_seconds)
            elif tries.is_ill(error):
                server.breaker.failed()
            raise
        except Exception:
            outcome = errors.ChatError.code  # a defect of this service; it is logged where the answer ends
            raise
        finally:
            if is_only_try:
                server.breaker.tried()
            milliseconds = round((asyncio.get_running_loop().time() - began) * 1000)
            listener.tried(Try(server.name, outcome, milliseconds))
            self._count(tag, server.name, outcome, milliseconds)
        if end is None:
            raise errors.InferenceUnavailable(ALL_TAKEN)
        return end

    def _count(self, tag: str, server: str, outcome: str, milliseconds: int) -> None:
        self._metrics.servers.tried(server, tag, outcome)
        if outcome not in (tries.DONE, tries.STOPPED):
            log.warning(
                "inference_try_failed", server=server, model=tag, outcome=outcome, duration_ms=milliseconds
            )

    def _find(self, model_tag: str) -> Served:
        tag = self.catalogue.find(model_tag)
        if tag is None:
            raise errors.ModelGone
        return self._served[tag]

    def _meant(self, model_tag: str) -> str:
        """What a client is asked for: with a file, it knows its one model."""
        return model_tag if self.catalogue.is_open else DEFAULT

    async def prepare(self) -> None:
        """Learn what `room` needs, if it isn't known. Takes two seconds at most and raises nothing."""
        clients = (client for served in self._served.values() for client in served.clients)
        unprepared = [client for client in clients if client.inference.is_unprepared]
        if unprepared:
            await asyncio.gather(*map(_prepare, unprepared))

    def room(self, model_tag: str | None, max_tokens: int, beside: int) -> Room:
        """The room for the conversation in a request to this model, on any of its servers.

        None: the most of any model. See Inference.room.
        """
        tag = None if model_tag is None else self.catalogue.find(model_tag)
        chosen = self._served.values() if tag is None else [self._served[tag]]
        meant = None if model_tag is None and self.catalogue.is_open else self._meant(model_tag or DEFAULT)
        return max(
            min(client.inference.room(meant, max_tokens, beside) for client in served.clients)
            for served in chosen
        )

    async def models(self, *, is_admin: bool) -> bytes:
        """The models that somebody may use, as JSON: `{"current_model","models","details"}`.

        Raises InferenceErrors without a file, since then the server alone knows them.
        """
        if self.catalogue.is_open:
            return await listing.of_server(self._served[self.catalogue.default].clients[0])
        usable = [self._served[tag] for tag in self.catalogue.tags(is_admin=is_admin)]
        return await listing.of_file(self.catalogue.default, usable)

    async def swap(self, model_tag: str) -> tuple[int, bytes]:
        """Load another model on the default model's first server. See Inference.swap."""
        return await self._served[self.catalogue.default].clients[0].inference.swap(model_tag)

    def _states(self) -> dict[str, tuple[int, int, int]]:
        """Of each server: its streams, who waits for one, and its breaker's state."""
        return {
            client.server.name: (
                client.server.slots.taken,
                client.server.slots.waiting,
                int(client.server.breaker.state),
            )
            for served in self._served.values()
            for client in served.clients
        }


async def _prepare(client: Client) -> None:
    with structlog.contextvars.bound_contextvars(server=client.server.name):
        await client.inference.prepare()


async def _stream(tag: str, client: Client, prompt: Prompt, listener: Listener) -> End | None:
    """The answer of one server; None if all its slots are taken."""
    slots, wait_seconds = client.server.slots, client.server.server.wait_seconds
    if not await slots.take(wait_seconds):
        return None
    try:
        listener.ask(client.server.name, tag)
        async with limited(client.endpoint, listener):
            return await client.inference.stream(prompt, listener)
    finally:
        slots.give_back()
