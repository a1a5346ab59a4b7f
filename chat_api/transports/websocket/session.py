"""Carries out a WebSocket client's commands, one after the other, in the order of their arrival."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID

import orjson
import structlog

from chat_api import errors
from chat_api.access.token_bucket import TokenBucket
from chat_api.generation.queue import Waiting
from chat_api.http.context import GENERATIONS, INFERENCE, METRICS, REFUSALS, SETTINGS, VERIFIER
from chat_api.http.scopes import require
from chat_api.settings.rate import PERIODS, Rate
from chat_api.transports.websocket.commands import (
    KINDS,
    Asked,
    Authenticate,
    Envelope,
    Ref,
    Start,
    Stop,
    Subscribe,
    Unsubscribe,
    read_command,
)
from chat_api.transports.websocket.socket import ASK_AGAIN, UNAUTHENTICATED, Socket, frame
from chat_api.transports.websocket.subscription import Subscription

if TYPE_CHECKING:
    from aiohttp import web

    from chat_api.access.principal import Principal

logger = structlog.get_logger(__name__)


class Session:
    """A socket's user and the conversations that it follows.

    A refused command gets an error frame. The socket stays open, unless its user hasn't authenticated yet.
    """

    def __init__(self, socket: Socket, app: web.Application, remote: str, address: str | None) -> None:
        """`remote`: the client's address for the log. `address`: the address that limits count, if any."""
        self._socket = socket
        self._remote = remote
        self._address = address
        self._refusals = app[REFUSALS]
        self._verifier = app[VERIFIER]
        self._generations = app[GENERATIONS]
        self._commands = app[METRICS].socket_commands
        self._errors = app[METRICS].errors
        self._max_subscriptions = app[SETTINGS].max_subscriptions
        self._servers = app[INFERENCE]
        self._rate = TokenBucket(Rate(app[SETTINGS].commands_per_minute, PERIODS["minute"]))
        self._principal: Principal | None = None
        self._subscriptions: dict[UUID, Subscription] = {}

    @property
    def user_id(self) -> str | None:
        """The user's id; None until they have authenticated."""
        return None if self._principal is None else str(self._principal.user_id)

    async def run(self, principal: Principal | None) -> None:
        """Serve until the socket ends. Raises ConnectionResetError if the connection breaks."""
        if principal is not None:
            await self._admit(principal)
        while (message := await self._socket.receive()) is not None:
            await self._take(message)

    async def close(self) -> None:
        """End every subscription."""
        for conversation_id in list(self._subscriptions):
            await self._subscriptions.pop(conversation_id).close()

    async def _take(self, message: str | bytes) -> None:
        now = asyncio.get_running_loop().time()
        seconds_to_wait = 0.0 if self._rate.take(now) else self._rate.wait(now)
        ref: Ref | None = None
        try:
            envelope = Envelope.read(message)
            ref = envelope.ref
            await self._do(self._read(envelope, message, seconds_to_wait))
        except errors.ChatError as error:
            await self._refuse(ref, error)
        except ConnectionResetError:
            raise
        except Exception:
            logger.exception("command_failed")
            await self._refuse(ref, errors.ChatError())

    def _read(self, envelope: Envelope, message: str | bytes, seconds_to_wait: float) -> Asked:
        known = isinstance(envelope.type, str) and envelope.type in KINDS
        self._commands.labels(envelope.type if known else "unknown").inc()
        if seconds_to_wait:
            raise errors.RateLimited(seconds_to_wait)
        return read_command(envelope.type, message, self._servers.catalogue.most_tokens)

    async def _refuse(self, ref: Ref | None, error: errors.ChatError) -> None:
        self._errors.labels(error.code).inc()
        if error.limit is not None:
            self._refusals.note(error.limit, self._remote, self.user_id)
        is_unchecked = error.status >= 500 or isinstance(error, errors.TooManySignInFailures)
        if self._principal is None and not is_unchecked:
            self._socket.end(UNAUTHENTICATED)
        else:  # also if the token couldn't be checked: the client may send it again
            # What HTTP has outside the body.
            status = {"status": error.status, "retry_after": error.retry_after}
            await self._say({"type": "error", "ref": ref, **status, **error.body})

    async def _do(self, command: Asked) -> None:
        if isinstance(command, Authenticate):
            await self._authenticate(command.token.get_secret_value())
            return
        if self._principal is None:
            raise errors.Unauthorized
        require(self._principal, "read" if isinstance(command, Subscribe | Unsubscribe) else "chat")
        if isinstance(command, Start):
            await self._start(command, self._principal)
        elif isinstance(command, Subscribe):
            await self._subscribe(command, self._principal.user_id)
        elif isinstance(command, Unsubscribe):
            await self._unsubscribe(command.conversation_id)
            await self._say({"type": "ack", "ref": command.ref})
        elif isinstance(command, Stop):
            stop = await self._generations.stop(
                self._principal.user_id, command.conversation_id, clear=command.queue == "clear"
            )
            await self._acknowledge(command.ref, stop.generation_id, stopped=stop.is_confirmed)

    async def _authenticate(self, token: str) -> None:
        try:
            principal = await self._verifier.verify(token, lambda: self._address)
        except errors.Unauthorized:
            self._socket.end(UNAUTHENTICATED)
            return
        if self._principal is not None and principal.user_id != self._principal.user_id:
            self._socket.end(UNAUTHENTICATED)  # its subscriptions belong to another user
            return
        await self._admit(principal)

    async def _admit(self, principal: Principal) -> None:
        structlog.contextvars.bind_contextvars(user_id=str(principal.user_id))
        self._principal = principal
        why_then = ASK_AGAIN if principal.is_provisional else UNAUTHENTICATED
        self._socket.end_in(principal.expires_at - time.time(), why_then)
        await self._say({"type": "ready", "user_id": str(principal.user_id)})

    async def _start(self, command: Start, who: Principal) -> None:
        conversation_id = command.conversation_id
        followed = self._subscriptions.get(conversation_id)
        subscription = followed or self._new_subscription(conversation_id)
        try:
            reading = await self._generations.start(
                who.user_id,
                conversation_id,
                command,
                command.idempotency_key,
                self._address,
                is_admin=who.is_admin,
            )
            if isinstance(reading, Waiting):
                await self._wait(command, reading, subscription, is_new=followed is None)
                return
            # If this conversation was followed before, its subscription already knows of the generation. Its
            # task runs only when this one first waits, so the acknowledgement is sent first.
            with reading.log.audience.join(self._socket.has_left):
                await self._acknowledge(
                    command.ref, reading.log.generation_id, user_message_id=str(reading.user_message_id)
                )
        except BaseException:
            if followed is None:
                await subscription.close()
            raise
        if followed is None:
            self._subscriptions[conversation_id] = subscription
            # This skips older generations of other workers that the watch has reported meanwhile.
            subscription.open([reading], reading.log.generation_id)
        else:
            subscription.add(reading)

    async def _wait(
        self, command: Start, waiting: Waiting, subscription: Subscription, *, is_new: bool
    ) -> None:
        """Say that a message waits for its turn, and follow its conversation until then, and later."""
        named = {"ref": command.ref, "conversation_id": str(command.conversation_id)}
        await self._say({"type": "queued", **named, "queued": orjson.Fragment(waiting.message)})
        if is_new:
            self._subscriptions[command.conversation_id] = subscription
            subscription.open([], None)

    async def _subscribe(self, command: Subscribe, user_id: UUID) -> None:
        conversation_id = command.conversation_id
        subscription = self._new_subscription(conversation_id)
        try:
            resumption = await self._generations.readers.resume(user_id, conversation_id, command.after)
            await self._unsubscribe(conversation_id)  # the new one takes the old one's place
            await self._acknowledge(command.ref, resumption.generation_id)
        except BaseException:
            await subscription.close()
            raise
        self._subscriptions[conversation_id] = subscription
        subscription.open(resumption.readings, resumption.newest)

    def _new_subscription(self, conversation_id: UUID) -> Subscription:
        if len(self._subscriptions.keys() | {conversation_id}) > self._max_subscriptions:
            raise errors.TooManySubscriptions
        return Subscription(conversation_id, self._generations, self._socket)

    async def _unsubscribe(self, conversation_id: UUID) -> None:
        subscription = self._subscriptions.pop(conversation_id, None)
        if subscription is not None:
            await subscription.close()

    async def _acknowledge(self, ref: Ref, generation_id: UUID | None, **more: str | bool) -> None:
        named = None if generation_id is None else str(generation_id)
        await self._say({"type": "ack", "ref": ref, "generation_id": named, **more})

    async def _say(self, message: Mapping[str, object]) -> None:
        await self._socket.send(frame(orjson.dumps(message)))
