"""Asking model servers for their lists and models for a first token."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from chat_api import errors
from chat_api.commands.models.notes import notes
from chat_api.commands.models.sentences import no_answer, refused_parameters, sentence, too_late
from chat_api.inference import CallPiece, Options, Prompt, Try, Turn
from chat_api.inference.base import read_object
from chat_api.inference.connect import connect, new_session
from chat_api.inference.endpoint import Endpoint
from chat_api.settings import Settings
from chat_api.settings.models import DEFAULT, Catalogue, Model

QUESTION = "Say OK."
MAX_TOKENS = 16  # of an answer that is stopped at its first


@dataclass(frozen=True, slots=True)
class ListCheck:
    """A server's list: the names of its models, or None if it has no list, or why there is none."""

    server: str
    names: tuple[str, ...] | None = None
    default: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ModelCheck:
    """A model on one of its servers. `served_as` is the name that it is asked for, "" for what it serves.

    `listed`: whether the server's list has that name; None if there is no list. `milliseconds` until the
    first token. `error` says why there was none. `refused`: parameters that had to be left out, or renamed.
    """

    server: str
    model: str
    served_as: str
    listed: bool | None
    milliseconds: int | None
    error: str | None
    refused: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerCheck:
    """A server's list, and its models in the order of the file."""

    of_list: ListCheck
    of_models: tuple[ModelCheck, ...]

    @property
    def is_fine(self) -> bool:
        """Whether nothing failed."""
        return self.of_list.error is None and all(each.error is None for each in self.of_models)


class FirstToken:
    """An inference.Listener that waits for the first word. `came` is set then."""

    has_spoken = False
    heard_at = 0.0

    def __init__(self) -> None:
        self.came = asyncio.Event()

    def ask(self, server: str, model: str) -> None:
        """A server is asked."""

    def tried(self, done: Try) -> None:
        """A try is over."""

    def text(self, text: str, data: bytes) -> None:
        """A piece of the answer."""
        self.came.set()

    def reasoning(self, text: str, data: bytes) -> None:
        """A piece of thinking."""
        self.came.set()

    def tool_call(self, piece: CallPiece, data: bytes) -> None:
        """A piece of a call."""
        self.came.set()

    def other(self, data: bytes) -> None:
        """An event of the server's own."""

    def alive(self) -> None:
        """A sign of life."""


async def check_servers(catalogue: Catalogue, settings: Settings) -> Sequence[ServerCheck]:
    """Check all servers at once, and the models of each one after the other. Raises nothing of theirs."""
    async with new_session() as session:
        return await asyncio.gather(
            *(_check_server(name, catalogue, settings, session) for name in catalogue.servers)
        )


async def _check_server(
    name: str, catalogue: Catalogue, settings: Settings, session: aiohttp.ClientSession
) -> ServerCheck:
    endpoint = Endpoint(catalogue.servers[name], Model(servers=(name,)), "", settings)
    of_list = asyncio.create_task(_check_list(name, endpoint, session))
    checks = []
    for tag, model in catalogue.models.items():
        if name in model.servers:
            checks.append(
                await _check_model(name, tag, Endpoint.of(catalogue, tag, name, settings), session, of_list)
            )
    return ServerCheck(await of_list, tuple(checks))


async def _check_list(name: str, endpoint: Endpoint, session: aiohttp.ClientSession) -> ListCheck:
    if endpoint.server.protocol == "chat_web":
        return ListCheck(name)
    with notes() as said:
        try:
            async with asyncio.timeout(endpoint.connect_timeout + endpoint.first_token_timeout):
                body = read_object(await connect(endpoint, session).models())
        except errors.InferenceError as error:
            if isinstance(error, errors.InferenceRejected) and error.reason is None:
                return ListCheck(name)  # no such path, as with Azure's deployments
            return ListCheck(name, error=sentence(error, said, endpoint.server))
        except TimeoutError:
            return ListCheck(name, error=too_late(endpoint))
    names = body.get("models")
    if not isinstance(names, list):
        return ListCheck(name, error="Its list of models has none.")
    default = body.get("current_model")
    return ListCheck(
        name,
        tuple(each for each in names if isinstance(each, str)),
        default if isinstance(default, str) else "",
    )


async def _check_model(
    server: str,
    tag: str,
    endpoint: Endpoint,
    session: aiohttp.ClientSession,
    of_list: asyncio.Task[ListCheck],
) -> ModelCheck:
    milliseconds, error = None, None
    loop = asyncio.get_running_loop()
    with notes() as said:
        began = loop.time()
        try:
            async with asyncio.timeout(endpoint.connect_timeout + endpoint.first_token_timeout):
                await _first_token(endpoint, session)
            milliseconds = round((loop.time() - began) * 1000)
        except errors.InferenceError as failure:
            error = sentence(failure, said, endpoint.server)
        except TimeoutError:
            error = too_late(endpoint)
    listed = await of_list
    name = endpoint.served_as or listed.default
    in_list = None if listed.names is None or endpoint.server.protocol != "openai" else name in listed.names
    return ModelCheck(server, tag, name, in_list, milliseconds, error, refused_parameters(said))


async def _first_token(endpoint: Endpoint, session: aiohttp.ClientSession) -> None:
    """Ask, and stop at the first token. Raises InferenceErrors."""
    listener = FirstToken()
    options = Options(endpoint.settings.default_temperature, MAX_TOKENS, None)
    prompt = Prompt("", [Turn("user", QUESTION)], DEFAULT, options)
    asked = asyncio.create_task(connect(endpoint, session).stream(prompt, listener))
    came = asyncio.create_task(listener.came.wait())
    try:
        await asyncio.wait({asked, came}, return_when=asyncio.FIRST_COMPLETED)
        # One that thinks in secret has nothing to say within so few tokens.
        if not listener.came.is_set() and (await asked).reason != "length":
            raise no_answer()
    finally:
        for task in (asked, came):
            task.cancel()
        await asyncio.gather(asked, came, return_exceptions=True)
