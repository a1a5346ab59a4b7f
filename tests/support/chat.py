"""One user's conversation, as a client uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient

from chat_api.http.context import GENERATIONS
from tests.support.model_server import Call, ModelServer
from tests.support.reader import Seen, read_events

Client = TestClient[web.Request, web.Application]
Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True)
class Chat:
    """The requests for a conversation. Responses are raw, so that tests see statuses and headers."""

    client: Client
    path: str
    user: dict[str, str]

    async def send(self, content: str = "Hi", key: str | None = None, **options: Any) -> ClientResponse:
        """Send a message."""
        headers = self.user if key is None else {**self.user, "Idempotency-Key": key}
        body = {"content": content, **options}
        return await self.client.post(f"{self.path}/messages", json=body, headers=headers)

    async def regenerate(self, key: str | None = None, **options: Any) -> ClientResponse:
        """Answer the last message again."""
        headers = self.user if key is None else {**self.user, "Idempotency-Key": key}
        return await self.client.post(f"{self.path}/regenerate", json=options, headers=headers)

    async def go_on(self, key: str | None = None, **options: Any) -> ClientResponse:
        """Go on with an answer that was cut."""
        headers = self.user if key is None else {**self.user, "Idempotency-Key": key}
        return await self.client.post(f"{self.path}/continue", json=options, headers=headers)

    async def change(self, version: object = None, **fields: Any) -> ClientResponse:
        """Change the conversation, if it has this version."""
        headers = self.user if version is None else {**self.user, "If-Match": f'"{version}"'}
        return await self.client.put(self.path, json=fields, headers=headers)

    async def show(self, message_id: str) -> None:
        """Show this version of a message."""
        response = await self.change(active_message_id=message_id)
        assert response.status == 200, await response.text()

    async def fork(self, message_id: str) -> ClientResponse:
        """Fork the conversation."""
        return await self.client.post(f"{self.path}/fork", json={"message_id": message_id}, headers=self.user)

    async def take_back(self, message_id: str) -> ClientResponse:
        """Delete a message with what comes after it."""
        return await self.client.delete(f"{self.path}/messages/{message_id}", headers=self.user)

    async def attach(self, last_event_id: str | None = None, **query: str) -> ClientResponse:
        """Read the conversation's stream."""
        headers = self.user if last_event_id is None else {**self.user, "Last-Event-ID": last_event_id}
        return await self.client.get(f"{self.path}/stream", headers=headers, params=query)

    async def stop(self) -> dict[str, Any]:
        """Stop the running generation; returns the service's response."""
        response = await self.client.post(f"{self.path}/stop", headers=self.user)
        assert response.status == 200, await response.text()
        body: dict[str, Any] = await response.json()
        return body

    async def get(self) -> dict[str, Any]:
        """The conversation with its messages."""
        response = await self.client.get(self.path, headers=self.user)
        assert response.status == 200, await response.text()
        body: dict[str, Any] = await response.json()
        return body

    async def messages(self) -> list[tuple[str, str, str | None]]:
        """The messages: role, content, finish_reason."""
        messages = (await self.get())["messages"]
        return [(message["role"], message["content"], message["finish_reason"]) for message in messages]

    async def begin(self, model: ModelServer, *tokens: str) -> tuple[ClientResponse, Call, list[Seen]]:
        """Send "Hi" and let the model say the first tokens: the stream, the call, the events so far."""
        response = await self.send()
        call = await model.call()
        call.say(*tokens)
        return response, call, await read_events(response, 1 + len(tokens))

    async def exchange(self, model: ModelServer, *tokens: str) -> list[Seen]:
        """Send "Hi" and read the whole answer."""
        response, call, seen = await self.begin(model)
        call.finish(*tokens)
        return seen + await read_events(response)


async def open_chat(client: Client, user: dict[str, str], **body: Any) -> Chat:
    """Create a conversation."""
    response = await client.post("/api/conversations", json=body, headers=user)
    assert response.status == 201, await response.text()
    return Chat(client, f"/api/conversations/{(await response.json())['id']}", user)


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Poll until a condition is true, if there is nothing to await. Fails when no machine is that slow."""
    async with asyncio.timeout(20):
        while not (answer := await condition()):  # noqa: ASYNC110 - there is no event across processes
            await asyncio.sleep(0.01)
    return answer


async def know_each_other(sql: Sql, *workers: Client, listening: bool = True) -> None:
    """Wait until each worker listens and has learnt that another one lives: only then does it notify."""

    async def know() -> bool:
        query = "select count(*) from pg_stat_activity where datname = current_database() and query like $1"
        listen = await sql.fetchval(query, 'LISTEN "chat_%')
        journals = [each.app[GENERATIONS]._relay._journal for each in workers]
        for each in journals:
            each._added.set()  # a tick, which looks for other workers
        return listen == len(workers) * listening and all(each.notices.others_live for each in journals)

    await until(know)


async def somebody_waits(sql: Sql) -> None:
    """Wait until a statement waits for a lock."""

    async def waits() -> bool:
        return bool(await sql.fetchval("select exists (select from pg_locks where not granted)"))

    await until(waits)


async def nobody_waits(sql: Sql) -> None:
    """Wait until no statement waits for a lock."""

    async def waits_not() -> bool:
        return not await sql.fetchval("select exists (select from pg_locks where not granted)")

    await until(waits_not)


async def no_answer_lives() -> None:
    """Wait until no answer's task is left. Fails after five seconds, and shows the task that hangs."""
    tasks = {task for task in asyncio.all_tasks() if task.get_name().startswith("generation-")}
    if tasks:
        _, hanging = await asyncio.wait(tasks, timeout=5)
        assert not hanging
